"""Precision and recall of the review on a small corpus; ``make bench BENCH=weekly_review`` has the large one."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.analysis import log_review
from tasks.analysis.log_patterns import folded
from tasks.analysis.log_tally import Tally
from tasks.clients.log_pages import read_entry
from tasks.log_models import Coverage, History, LogReview, Week
from tasks.review_models import Marks
from tests import corpus, truth

ENTRIES = 12_000
#: All of them, each as often as the others: in so few entries a rare one would not be there at all.
STATEMENTS = frozenset(line.key for line in corpus.statements())
ASKED = datetime(2026, 11, 23, 6, tzinfo=UTC)


def reviewed(number: int, before: History | None) -> tuple[LogReview, History]:
    week = Week.named(corpus.WEEKS[number], corpus.ZONE)
    tally = Tally(week.start.timestamp(), folded)
    tally.take(read_entry(raw) for raw in corpus.entries(number, ENTRIES, only=STATEMENTS))
    tally.close()
    return log_review.review(week, tally, Coverage(read=tally.read, size=tally.size), before, Marks(), ASKED)


def test_each_class_is_found_and_nothing_else_is_taken_for_it() -> None:
    history = None
    for number in range(len(corpus.WEEKS)):
        review, history = reviewed(number, history)
    for kind, figures in truth.scores(review).items():
        assert figures["precision"] >= 0.95, (kind, figures)
        assert figures["recall"] >= 0.95, (kind, figures)

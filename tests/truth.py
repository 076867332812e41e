"""How right a review of the corpus was: precision and recall of each class, over the statements of the code.

A statement is what a person would call one message. The patterns that its lines fell into are found by masking lines of
it anew, so that a pattern which mixes two statements, or a statement in pieces, counts against the review.
"""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, datetime
from typing import Any

from tasks.analysis.log_patterns import WILD
from tasks.analysis.log_tally import level_of
from tasks.analysis.masking import mask
from tasks.analysis.stack_traces import holds_trace, read_trace
from tasks.cost_models import CostReview
from tasks.log_models import Judged, LogReview
from tasks.review_models import Around, Review
from tests import corpus

CLASSES = ("new", "regressed", "escalating", "vanished")
SAMPLES = 40


def scores(review: LogReview) -> dict[str, dict[str, float]]:
    """For each class: how many statements were planted, and precision and recall of what was found."""
    found = judgements(review)
    lines = corpus.statements()
    assert set(found) == {line.key for line in lines}, "a statement has no pattern: the score would be blind"
    made = {}
    for kind in CLASSES:
        said = {key for key, judged in found.items() if kind in judged}
        planted = {line.key for line in lines if line.planted == kind}
        right = len(said & planted)
        made[kind] = {
            "planted": len(planted), "statements": len(lines), "precision": right / len(said) if said else 0.0,
            "recall": right / len(planted),
        }  # fmt: skip
    return made


def judgements(review: LogReview) -> dict[str, set[str]]:
    """What was said of each statement, by its key."""
    by_service: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for judged in review.judged:
        by_service[judged.pattern.service, judged.pattern.level].append(judged)
    return {line.key: said for line in corpus.statements() if (said := set(_said(line, by_service)))}


def _said(line: corpus.Statement, by_service: dict[tuple[str, str], list[Judged]]) -> Any:
    chance = random.Random(line.key)
    for _ in range(SAMPLES):
        text = line.say(chance)
        trace = holds_trace(text)
        masked = read_trace(text).template if trace else mask(text)
        level = "error" if trace else level_of(line.severity, text)
        for judged in by_service[line.service, level]:
            if judged.pattern.template == masked or _matches(judged.pattern.template, masked):
                yield judged.judgement
                break


def _matches(template: str, line: str) -> bool:
    one, two = template.split(), line.split()
    return len(one) == len(two) and all(a in (b, WILD) for a, b in zip(one, two, strict=True))


def report(logs: LogReview, asked: datetime) -> Review:
    """A review of logs alone, as the page takes it."""
    from tasks.analysis.review_findings import told

    costs, around = CostReview(state="off", week=date(2026, 11, 16)), Around()
    return Review(
        estate="bench", week=logs.week, asked=asked, logs=logs, costs=costs, around=around,
        told=told(logs, costs, around, asked),
    )  # fmt: skip

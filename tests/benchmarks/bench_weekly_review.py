"""The weekly review on a million log entries: how fast, in how much memory, against Drain alone, and how right.

The entries lie in a file as pages of Google's own answers, so the time holds everything but the network: reading the
messages, masking, counting, finding patterns, judging, and the page. Every measurement is made in a process of its own,
by its time of one core.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import resource
import struct
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import corpus, truth

ENTRIES = 1_000_000
PAGE = 1000
#: The weeks before have a tenth of the entries: they are only what is compared with.
SMALLER = 10
LAST = len(corpus.WEEKS) - 1
ASKED = datetime(2026, 11, 23, 6, tzinfo=UTC)
SECONDS, MEGABYTES, RATIO, RIGHT = 60.0, 300.0, 1.0, 0.95


def bench(state: Path) -> list[dict[str, Any]]:
    """Measure the review of a week of a million and of two million entries."""
    folder = state / "bench-weekly-review"
    folder.mkdir(exist_ok=True)
    one, two = folder / "one.pages", folder / "two.pages"
    _apart(make, one, LAST, ENTRIES)
    _apart(make, two, LAST, 2 * ENTRIES)
    history = folder / "history.json"
    _apart(remember, folder, history, ENTRIES // SMALLER)
    try:
        first, second = (_apart(review, one, history) for _ in range(2))
        double = _apart(review, two, history)
        plain, ours = _apart(drain_alone, one), _apart(counted_alone, one)
    finally:
        one.unlink()
        two.unlink()
    return [*_speed(first, double), *_beside(first, plain, ours), *_bytes(first, second), *_right(first)]


def _speed(first: dict[str, Any], double: dict[str, Any]) -> Iterator[dict[str, Any]]:
    against = f"{first['read']:,} entries, one core"
    yield _row("weekly review: a week of a million entries", first["seconds"], "s", SECONDS, against)
    yield _row("weekly review: memory, a million entries", first["megabytes"], "MB", MEGABYTES, against)
    more = f"{double['read']:,} entries, one core"
    yield _row("weekly review: memory, two million entries", double["megabytes"], "MB", MEGABYTES, more)
    growth = double["megabytes"] / first["megabytes"]
    yield _row(
        "weekly review: memory of two million to one", growth, "to 1", 1.1, "the same services, twice the entries"
    )


def _beside(first: dict[str, Any], plain: dict[str, Any], ours: dict[str, Any]) -> Iterator[dict[str, Any]]:
    loop = f"a plain loop of drain3 over the same {plain['lines']:,} masked lines: {plain['seconds']:.1f} s"
    yield _row("weekly review: counting and mining", ours["seconds"] / plain["seconds"], "to 1", RATIO, loop)
    whole = _row("weekly review: reading, masking and all", first["seconds"] / plain["seconds"], "to 1", RATIO, loop)
    yield {**whole, "goal": None, "ok": True}


def _bytes(first: dict[str, Any], second: dict[str, Any]) -> Iterator[dict[str, Any]]:
    same = first["digest"] == second["digest"]
    yield {
        "name": "weekly review: two runs, the same bytes", "value": float(same), "unit": "1", "goal": "= 1", "ok": same,
        "against": "report and history, two processes",
    }  # fmt: skip


def _right(first: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, figures in first["scores"].items():
        for name in ("precision", "recall"):
            value, against = figures[name], f"{figures['planted']} planted of {figures['statements']} statements"
            row = _row(f"weekly review: {name} of {kind}", value, "1", RIGHT, against)
            yield {**row, "goal": f">= {RIGHT}", "ok": value >= RIGHT}


def _row(name: str, value: float, unit: str, goal: float, against: str) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 3), "unit": unit, "goal": f"<= {goal:g}", "ok": value <= goal,
        "against": against,
    }  # fmt: skip


# --- in processes of their own ---------------------------------------------------------------------------------------


def make(path: Path, week: int, count: int) -> dict[str, Any]:
    """Write a week's entries as pages of Google's answers, each with its length before it."""
    from google.cloud.logging_v2.types import ListLogEntriesResponse

    page = ListLogEntriesResponse.pb()()
    with path.open("wb") as file:
        for number, entry in enumerate(corpus.entries(week, count), 1):
            page.entries.append(entry)
            if number % PAGE == 0 or number == count:
                data = page.SerializeToString()
                file.write(struct.pack("<I", len(data)) + data)
                page.Clear()
    return {}


def remember(folder: Path, path: Path, count: int) -> dict[str, Any]:
    """Review the weeks before, and keep what they leave; their counts as if they had been of full size."""
    history = None
    for week in range(LAST):
        pages = folder / "before.pages"
        make(pages, week, count)
        _, history = _judged(pages, week, history, [0.0])
        pages.unlink()
    assert history is not None
    path.write_text(_scaled(history, SMALLER).model_dump_json())
    return {}


def _scaled(history: Any, factor: int) -> Any:
    patterns = [
        known.model_copy(
            update={"weeks": tuple(past.model_copy(update={"count": past.count * factor}) for past in known.weeks)}
        )
        for known in history.patterns
    ]
    return history.model_copy(update={"patterns": tuple(patterns), "read": tuple(n * factor for n in history.read)})


def review(path: Path, history: Path) -> dict[str, Any]:
    """Review the last week; the time of this process, its memory, and how right it was."""
    from tasks.log_models import History
    from tasks.pages import render
    from tasks.review_page import page_of

    began, mining = time.process_time(), [0.0]
    known = History.model_validate_json(history.read_text())
    made, kept = _judged(path, LAST, known, mining)
    html = render(page_of(truth.report(made, ASKED), "bench", ()))
    seconds = time.process_time() - began
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    digest = hashlib.sha256((html + kept.model_dump_json() + made.model_dump_json()).encode()).hexdigest()
    return {
        "seconds": seconds, "mining": mining[0], "read": made.coverage.read, "digest": digest, "megabytes": megabytes,
        "scores": truth.scores(made),
    }  # fmt: skip


def _judged(path: Path, number: int, history: Any, mining: list[float]) -> tuple[Any, Any]:
    """A week's review and what it leaves. ``mining`` gets the time from masked lines to patterns."""
    from tasks.analysis import log_review
    from tasks.analysis.log_patterns import folded
    from tasks.analysis.log_tally import Tally
    from tasks.log_models import Coverage, Week
    from tasks.review_models import Marks

    week = Week.named(corpus.WEEKS[number], corpus.ZONE)
    tally = Tally(week.start.timestamp(), folded)
    for entries in _pages(path):
        tally.take(entries)
    tally.close()
    began = time.process_time()
    coverage = Coverage(read=tally.read, size=tally.size)
    made = log_review.review(week, tally, coverage, history, Marks(), ASKED)
    mining[0] = time.process_time() - began
    return made


def _pages(path: Path) -> Iterator[Any]:
    from google.cloud.logging_v2.types import ListLogEntriesResponse

    from tasks.clients.log_pages import read_entry

    message = ListLogEntriesResponse.pb()
    with path.open("rb") as file:
        while head := file.read(4):
            page = message.FromString(file.read(struct.unpack("<I", head)[0]))
            yield [read_entry(raw) for raw in page.entries]


def drain_alone(path: Path) -> dict[str, Any]:
    """The loop that one would write first: every masked line goes through Drain."""
    from drain3.drain import Drain

    from tasks.analysis.masking import mask

    drain, seconds, lines = Drain(sim_th=0.7, parametrize_numeric_tokens=False), 0.0, 0
    for entries in _pages(path):
        masked = [mask(entry.text) for entry in entries if entry.request is None]
        began = time.process_time()
        for line in masked:
            drain.add_log_message(line)
        seconds += time.process_time() - began
        lines += len(masked)
    return {"seconds": seconds, "lines": lines}


def counted_alone(path: Path) -> dict[str, Any]:
    """What counting and mining cost on the same masked lines: the other side of ``drain_alone``."""
    from tasks.analysis.log_patterns import folded, patterns
    from tasks.analysis.log_tally import LineKey, Tally

    tally, seconds = Tally(0.0, folded), 0.0
    from tasks.analysis.masking import mask

    for entries in _pages(path):
        masked = [(LineKey(e.service, "info", "line", mask(e.text)), e) for e in entries if e.request is None]
        began = time.process_time()
        for key, entry in masked:
            tally.count(key, entry.at, entry.size)
        seconds += time.process_time() - began
    began = time.process_time()
    found = patterns(tally.lines)
    return {"seconds": seconds + time.process_time() - began, "patterns": len(found)}


def _apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Do work in a process of its own, started anew: its memory and time are its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        return dict(json.loads(ours.recv()))
    finally:
        process.join()


def _send(pipe: Any, work: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> None:
    pipe.send(json.dumps(work(*arguments)))

"""Patterns have identities that last: whatever the order, the machine, and what was seen before."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys

from tasks.analysis.log_patterns import folded, identity, patterns
from tasks.analysis.log_tally import OTHER_LINES, Tally
from tasks.analysis.log_tally_state import from_bytes, to_bytes
from tasks.analysis.log_trends import next_history
from tasks.log_models import Entry, PatternWeek, Request, Week

WEEK = Week.named("2026-W47", "Europe/Berlin")
START = WEEK.start.timestamp()


def entry(number: int, text: str, service: str = "api", severity: int = 200) -> Entry:
    return Entry(START + number, service, "stdout", severity, text, len(text))


def tally_of(texts: list[str], most: int = 60_000) -> Tally:
    tally = Tally(START, folded, most)
    tally.take([entry(number, text) for number, text in enumerate(texts)])
    tally.close()
    return tally


def known(*texts: str) -> tuple:
    return next_history(WEEK, patterns(tally_of(list(texts)).lines), None).patterns


LINES = [
    f"user {name} logged in from 10.0.0.{i}"
    for i, name in enumerate(("ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ida"))
]
LINES += [f"rendered spec {i} in {i} ms" for i in range(50)]
LINES += [f"worker {word} stopped because queue {word} is gone" for word in ("red", "blue")]


def found() -> tuple[PatternWeek, ...]:
    return patterns(tally_of(LINES).lines)


def test_the_same_lines_in_any_order_and_number_give_the_same_patterns() -> None:
    expected = {(p.id, p.template) for p in patterns(tally_of(LINES).lines)}
    for seed in range(5):
        shuffled = LINES * (seed + 1)
        random.Random(seed).shuffle(shuffled)
        assert {(p.id, p.template) for p in patterns(tally_of(shuffled).lines)} == expected


def test_an_identity_is_the_same_in_another_process() -> None:
    code = "from tests.tasks.analysis.test_log_patterns import *; print(sorted(p.id for p in found()))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert other.stdout.strip() == str(sorted(p.id for p in found()))


def test_a_word_that_is_a_name_becomes_a_wild_card_and_a_few_words_do_not() -> None:
    templates = {p.template for p in patterns(tally_of(LINES).lines)}
    assert "user <*> logged in from <n>" in templates
    starts = [f"{verb} the nightly run" for verb in ("starting", "stopping", "skipping")]
    assert len(patterns(tally_of(starts).lines)) == 3


def test_a_pattern_that_grows_a_wild_card_stays_the_pattern_that_it_was() -> None:
    first = known("user ann logged in from 10.0.0.1")
    (again,) = patterns(tally_of(LINES[1:3]).lines, first)
    assert again.id == first[0].id == identity("api", "info", "user ann logged in from <n>")
    assert again.template == "user <*> logged in from <n>"


def test_a_line_like_a_known_one_but_of_another_level_or_service_is_another_pattern() -> None:
    first = known("pool is exhausted")
    tally = Tally(START)
    tally.take([entry(1, "pool is exhausted", severity=500), entry(2, "pool is exhausted", service="worker")])
    assert first[0].id not in {p.id for p in patterns(tally.lines, first)}


def test_more_different_lines_than_fit_are_folded_into_their_patterns_and_none_is_lost() -> None:
    texts = [f"visitor {''.join(random.Random(i).choices('abcdefgh', k=6))} came by today" for i in range(3000)]
    tally = tally_of([*texts, "boot ok", *texts], most=500)
    assert len(tally.lines) <= 500
    assert sum(line.count for line in tally.lines.values()) == 6001
    assert tally.unmatched == 0
    assert {p.template for p in patterns(tally.lines)} == {"visitor <*> came by today", "boot ok"}


def test_lines_without_any_pattern_are_counted_together_and_told() -> None:
    chance = random.Random(5)
    texts = [" ".join("".join(chance.choices("abcdefgh", k=5)) for _ in range(4)) for _ in range(3000)]
    tally = Tally(START, folded, 400)
    for i in range(0, 3000, 100):  # as pages come
        tally.take([entry(i, text) for text in texts[i : i + 100]])
    assert len(tally.lines) <= 400
    assert sum(line.count for line in tally.lines.values()) == 3000
    assert tally.unmatched > 0
    assert any(key.text == OTHER_LINES for key in tally.lines)


def test_a_tally_that_was_written_down_counts_on_as_if_it_had_not_been() -> None:
    half = len(LINES) // 2
    request = Entry(START + 90, "api", "requests", 0, "", 10, request=Request("GET", "https://x/a/1?q=2", 500, 0.2))
    trace = Entry(START + 95, "api", "stderr", 0, "Traceback (most recent call last):", 9, "i1")
    rest = [entry(100 + i, text) for i, text in enumerate(LINES[half:])]
    whole, part = Tally(START, folded), Tally(START, folded)
    before = [*(entry(i, text) for i, text in enumerate(LINES[:half])), request, trace]
    whole.take(before)
    part.take(before)
    resumed = from_bytes(to_bytes(part, {"day": 2, "token": "t"}), folded)
    assert resumed is not None
    assert resumed[1] == {"day": 2, "token": "t"}
    for tally in (whole, resumed[0]):
        tally.take([*rest, Entry(START + 400, "api", "stderr", 0, "KeyError: 'x'", 9, "i1")])
        tally.close()
    assert to_bytes(whole, {}) == to_bytes(resumed[0], {})


def test_nothing_unmasked_is_written_down() -> None:
    tally, url = Tally(START), "https://x/u/bob@example.com?token=hunter2"
    tally.take(
        [
            entry(1, "password=hunter2 for bob@example.com"),
            Entry(START, "api", "stderr", 0, "Traceback (most recent call last):", 9, "i1"),
            Entry(START, "api", "stderr", 0, '  File "/workspace/app/a.py", line 3, in login', 9, "i1"),
            Entry(START, "api", "stderr", 0, '    check("hunter2", "bob@example.com")', 9, "i1"),
            Entry(START, "api", "requests", 0, "", 9, request=Request("GET", url, 200, 1)),
        ]
    )
    text = gzip.decompress(to_bytes(tally, {})).decode()
    assert "hunter2" not in text
    assert "bob" not in text
    assert "login" in text


def test_text_that_is_no_valid_unicode_is_a_line_like_any_other() -> None:
    tally = tally_of(["bad \ufffd\ufffd bytes", "lone \ud800 surrogate", "nul \x00 sign", ""])
    assert to_bytes(tally, {})
    assert {key.text for key in tally.lines} == {"bad \ufffd\ufffd bytes", "lone surrogate", "nul sign"}


def test_levels_come_from_the_severity_or_from_the_words_of_a_plain_line() -> None:
    tally = Tally(START)
    tally.take([entry(1, "ERROR: deadlock detected", severity=0), entry(2, "no Error in sight", severity=200),
                entry(3, "[WARN] slow", severity=0), entry(4, "x", severity=600)])  # fmt: skip
    assert [key.level for key in tally.lines] == ["error", "info", "warning", "error"]


def test_what_the_platform_says_is_counted() -> None:
    tally = Tally(START)
    said = ("Memory limit of 512 MiB exceeded with 530 MiB used.", "Starting new instance. Reason: AUTOSCALING",
            "Container called exit(1).", "Starting new instance. Reason: DEPLOYMENT_ROLLOUT")  # fmt: skip
    tally.take([Entry(START + i, "api", "run.googleapis.com/varlog/system", 0, text, 9) for i, text in enumerate(said)])
    assert {what: seen[0] for (_, what), seen in tally.platform.items()} == {
        "out of memory": 1, "cold start": 1, "restart": 1,
    }  # fmt: skip

"""What the sample services install: everything pinned, and nothing that was asked for left out."""

from __future__ import annotations

import re

import pytest

from tests.variants import SAMPLE

PIN = re.compile(r"^([a-z0-9._-]+)==([\w.]+)( ;.*)?$")


def named(path: str) -> list[str]:
    lines = (SAMPLE / path).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("service", ["api", "frontend"])
def test_every_requirement_is_pinned_and_every_wish_is_met(service: str) -> None:
    pins = [PIN.match(line) for line in named(f"{service}/requirements.txt")]
    assert all(pins), named(f"{service}/requirements.txt")
    pinned = {pin[1] for pin in pins if pin}
    wished = {re.split(r"[<>=\[]", line)[0] for line in named(f"{service}/requirements.in")}
    assert wished <= pinned


def test_the_services_share_the_files_that_say_who_answered_and_what_is_logged() -> None:
    for path in ("app/logs.py", "app/revision.py"):
        assert (SAMPLE / "api" / path).read_text() == (SAMPLE / "frontend" / path).read_text()

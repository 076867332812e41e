"""The held-back list: people edit it, so it is read strictly, and every entry expires."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.analysis.held_back import read_held, standing, write_held
from tasks.dependency_models import Held
from tasks.errors import BadInput

TODAY = date(2026, 11, 25)


def held(**fields: object) -> Held:
    plain = {"manifest": ".", "package": "web", "stays": "1.0", "refused": "2.0", "reason": "tests fail",
             "since": TODAY, "until": date(2026, 12, 25)}  # fmt: skip
    return Held.model_validate({**plain, **fields})


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=3).map(tuple))
def test_a_list_is_read_as_it_was_written(reason: str, together: tuple[str, ...]) -> None:
    entries = (held(reason=reason, together=together), held(package="zoo"))
    assert read_held(write_held(entries), "held-back.toml") == entries


def test_an_entry_ends_on_its_day_and_the_longest_of_a_package_counts() -> None:
    entries = (held(until=TODAY), held(package="zoo", until=date(2027, 1, 1)), held(package="zoo"))
    assert standing(entries, TODAY) == (held(package="zoo", until=date(2027, 1, 1)),)


def test_an_empty_list_is_an_empty_file() -> None:
    assert (write_held(()), read_held("", "")) == ("", ())


@pytest.mark.parametrize("text", ["[[held]]\npackage = 1", "no toml", "[[held]]\npackage = 'a'\nuntl = 2026-01-01"])
def test_a_list_with_an_error_stops_the_flow(text: str) -> None:
    with pytest.raises(BadInput, match=r"reading the held-back list held-back\.toml failed"):
        read_held(text, "held-back.toml")

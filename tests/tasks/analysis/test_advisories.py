"""Advisories in the OSV format: which version mends them, compared as each ecosystem compares."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.analysis.advisories import Semantic, lowest_fix, vulnerability, wanted_fixes


def advisory(*fixed: str, name: str = "web", ecosystem: str = "PyPI", kind: str = "ECOSYSTEM") -> dict[str, Any]:
    ranges = [{"type": kind, "events": [{"introduced": "0"}, {"fixed": one}]} for one in fixed]
    return {"id": "X-1", "affected": [{"package": {"name": name, "ecosystem": ecosystem}, "ranges": ranges}]}


def test_the_fix_of_the_own_line_of_versions_is_taken_and_not_the_newest() -> None:
    assert lowest_fix(advisory("1.4.9", "2.0.3", "0.9.9"), "uv", "web", "1.4.2") == "1.4.9"
    assert lowest_fix(advisory("1.4.9", "2.0.3"), "uv", "web", "1.10") == "2.0.3"


def test_names_are_compared_as_the_index_does() -> None:
    assert lowest_fix(advisory("2.0", name="My.Web"), "requirements", "my-web", "1.0") == "2.0"
    assert lowest_fix(advisory("2.0.0", name="Web", ecosystem="npm", kind="SEMVER"), "npm", "web", "1.0.0") == ""


def test_a_commit_or_an_unknown_version_is_never_a_fix() -> None:
    assert lowest_fix(advisory("abcdef0", kind="GIT"), "uv", "web", "1.0") == ""
    assert lowest_fix(advisory("what"), "uv", "web", "1.0") == ""
    assert lowest_fix(advisory("2.0"), "uv", "web", "unknown") == ""


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("1.9.0", "1.10.0"), ("1.0.0-alpha", "1.0.0"), ("1.0.0-alpha.2", "1.0.0-alpha.10"), ("1.0.0-1", "1.0.0-a")],
)
def test_versions_of_npm_are_ordered_as_semantic_versions(lower: str, higher: str) -> None:
    assert Semantic(lower) < Semantic(higher)
    assert not Semantic(higher) < Semantic(lower)
    assert Semantic(lower) == Semantic(f"{lower}+build")


def test_one_version_is_wanted_that_mends_all_that_has_a_fix() -> None:
    known = (advisory("1.9"), advisory("1.10"), advisory())
    found = [vulnerability(one, ".", "uv", "web", "1.0") for one in known]
    assert wanted_fixes("uv", found) == {"web": "1.10"}

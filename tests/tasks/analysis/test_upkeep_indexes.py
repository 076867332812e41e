"""Bloat, leftovers, duplicates, idle and missing indexes, on facts as the catalogues give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.analysis import upkeep_indexes as indexes
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import ForeignKeyFacts, IndexFacts

NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
POLICY = MaintenancePolicy()
PAGE = 8192


def index(name: str = "public.i", columns: tuple[int, ...] = (1,), **changes: Any) -> IndexFacts:
    """A B-tree on 4-byte keys of a million rows, as large as a fresh build."""
    size = len(columns)
    shape = " ".join(["btree", *["1978"] * size, *["0"] * size, *["0"] * size])
    facts = {
        "oid": hash(name) % 10**9, "name": name, "quoted": name, "table": "public.t", "table_oid": 1,
        "columns": columns,
        "shape": shape, "tuples": 1e6, "entry_width": 4.0, "pages": 2745, "bytes": 2745 * PAGE,
        "scans": 5,
    }  # fmt: skip
    return IndexFacts.model_validate({**facts, **changes})


def said(*found: IndexFacts, keys: tuple[ForeignKeyFacts, ...] = (), reset: datetime | None = None) -> dict[str, str]:
    return {one.subject: one.kind for one in indexes.advice(found, keys, POLICY, reset, NOW)}


def test_the_estimate_of_a_fresh_index_is_its_size() -> None:
    """A real one of a million int4 keys has 2,745 pages (PostgreSQL 18); so has the facts' index."""
    assert indexes.estimated_bloat(index()) == pytest.approx(0, abs=3)


def test_a_deduplicated_index_is_not_taken_for_one_that_shrank() -> None:
    """A million rows of a thousand keys: 850 pages or so."""
    few = index(distinct=1000.0, pages=860, bytes=860 * PAGE)
    assert (indexes.estimated_bloat(few) or 0) < 20


def test_only_large_and_bloated_indexes_are_measured() -> None:
    bloated, small = index("a", tuples=2e5), index("b", tuples=2.0, pages=20, bytes=20 * PAGE)
    assert indexes.suspects([bloated, small, index("c")], POLICY) == (bloated,)


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({"density": 20.0}, True), ({"density": 70.0}, False), ({"density": 20.0, "bytes": 100_000}, False),
        ({"tuples": 1e5}, True), ({"tuples": 4.2e5}, False), ({"tuples": 1e5, "valid": False}, False),
        ({"tuples": 1e5, "density": 95.0}, False), ({"method": "gin", "tuples": 1e5}, False),
    ],
)  # fmt: skip
def test_a_measurement_outweighs_an_estimate_and_an_estimate_must_be_clear(changes: dict[str, Any], due: bool) -> None:
    assert bool(indexes.bloat(index(**changes), POLICY)) is due


@pytest.mark.parametrize(
    ("changes", "leftover", "broken"),
    [
        ({"name": "public.i_ccnew", "valid": False}, True, False),
        ({"name": "public.i_ccold1", "valid": False}, True, False),
        ({"name": "public.i_ccnew", "valid": False, "building": True}, False, False),
        ({"name": "public.i_ccnew"}, False, False),
        ({"name": "public.i", "valid": False}, False, True),
    ],
)
def test_leftovers_are_told_from_broken_indexes_and_from_what_is_being_built(
    changes: dict[str, Any], leftover: bool, broken: bool
) -> None:
    found = index(**changes)
    assert (indexes.is_leftover(found), indexes.is_broken(found)) == (leftover, broken)


def test_of_two_that_are_the_same_one_is_superfluous() -> None:
    assert said(index("a"), index("b")) == {"b": "duplicate index"}


def test_an_index_that_another_begins_with_is_superfluous() -> None:
    assert said(index("long", (1, 2)), index("short", (1,))) == {"short": "duplicate index"}


@pytest.mark.parametrize(
    "pair",
    [
        (index("a", (1, 2)), index("b", (2,))),
        (index("a", (1, 2)), index("b", (1,), unique=True)),
        (index("a", (1, 2)), index("b", (1,), constraint=True)),
        (index("a", shape="btree 1978 0 0 where (x > 1)"), index("b")),
        (index("a", (1, 2), shape="btree 1978 1978 0 0 3 0"), index("b", (1,))),
        (index("a", (1, 2), valid=False), index("b", (1,))),
        (index("a", (1, 2), table_oid=2), index("b", (1,))),
        (index("a", (0,), shape="btree 1978 0 0 lower(x)"), index("b", (0,), shape="btree 1978 0 0 upper(x)")),
        (index("a", method="hash", shape="hash 1 0 0"), index("b")),
    ],
)
def test_indexes_that_differ_in_anything_are_both_needed(pair: tuple[IndexFacts, IndexFacts]) -> None:
    assert said(*pair) == {}


def test_an_index_is_idle_only_after_a_whole_quarter_without_a_scan() -> None:
    idle = index("idle", scans=0)
    assert said(idle, reset=NOW - timedelta(days=100)) == {"idle": "unused index"}
    assert said(idle, reset=NOW - timedelta(days=10)) == {}
    assert said(idle, reset=None) == {}
    assert said(index("scans", last_scan=NOW - timedelta(days=91)), reset=NOW - timedelta(days=100)) == {
        "scans": "unused index"
    }
    assert said(index("scans", last_scan=NOW - timedelta(days=89)), reset=NOW - timedelta(days=100)) == {}
    assert said(index("key", scans=0, unique=True), reset=NOW - timedelta(days=100)) == {}


def test_a_foreign_key_without_an_index_is_told_where_its_table_is_large() -> None:
    def key(size: int) -> tuple[ForeignKeyFacts, ...]:
        return (ForeignKeyFacts(name="k", table="public.t", parent="p", columns=("a", "b"), bytes=size),)

    assert said(keys=key(10 * 1024**2)) == {"public.t.k": "missing index"}
    assert said(keys=key(8192)) == {}

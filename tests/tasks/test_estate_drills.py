"""What the estate says of drills: rules that are half said are refused, and a table without one is compared exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.estate import Estate
from tests.tasks.test_estate import complaint, load

RULE = ("tables = []", "tables = [{ %s }]")


def test_a_table_without_a_rule_is_compared_exactly(tmp_path: Path) -> None:
    rules = 'table = "events", compare = "grows", key = "id" }, '
    rules += '{ table = "x.s", compare = "varies", tolerance_percent = 5'
    estate: Estate = load(tmp_path, (RULE[0], RULE[1] % rules))
    policy = estate.database("pyplots").manifest
    assert (policy.rule("public.events").compare, policy.rule("public.events").key) == ("grows", "id")
    assert policy.rule("x.s").tolerance_percent == 5
    assert policy.rule("public.events_2026", root="public.events").key == "id"
    assert policy.rule("x.s", root="public.events").compare == "varies"
    assert policy.rule("public.specs").compare == policy.rule("y.events").compare == "exact"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('table = "e", compare = "grows"', "'key' belongs to compare = \"grows\", which needs it"),
        ('table = "e", compare = "exact", key = "id"', "'key' belongs to compare = \"grows\", which needs it"),
        ('table = "e", compare = "varies"', "'tolerance_percent' above 0 belongs to compare"),
        ('table = "e; DROP", compare = "exact"', "is not allowed: it must look like"),
        ('table = "e", compare = "exact", tolerence = 1', "did you mean tolerance_percent?"),
    ],
)
def test_a_rule_that_is_half_said_is_refused(tmp_path: Path, rule: str, said: str) -> None:
    assert said in complaint(tmp_path, (RULE[0], RULE[1] % rule))


def test_a_table_may_have_a_name_in_mixed_case(tmp_path: Path) -> None:
    rule = 'table = "Plots", compare = "grows", key = "plotId"'
    policy = load(tmp_path, (RULE[0], RULE[1] % rule)).database("pyplots").manifest
    assert policy.rule("public.Plots").key == "plotId"
    assert policy.rule("public.plots").compare == "exact"


def test_what_a_drill_leaves_out_of_a_service_must_be_there(tmp_path: Path) -> None:
    place = 'SYNC_TOKEN = "sync-token", SYNC_TOKEN_PREVIOUS = "sync-token@previous" }'
    said = complaint(tmp_path, (place, f'{place}\ndrill = {{ without = ["SYNC_TOKENS"] }}'))
    assert "services.api.drill.without names the unknown variable SYNC_TOKENS (known: BIND," in said


def test_the_query_for_objects_is_one_select(tmp_path: Path) -> None:
    said = complaint(tmp_path, ("SELECT 'plots/'", "DELETE FROM specs; SELECT 'plots/'"))
    assert "'query' must be one SELECT without a semicolon" in said

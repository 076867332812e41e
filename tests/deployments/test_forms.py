"""The forms of Prefect's UI: whoever sees one for the first time can start the flow, and not by mistake.

Each rule holds for every deployment of prefect.yaml, so for whichever flow comes next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.run import load
from deployments.stack.programs import HOME
from tasks.approvals import Decision

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((HOME / "prefect.yaml").read_text())["deployments"]
ENTRYPOINTS = sorted({deployment["entrypoint"] for deployment in DEPLOYMENTS})
#: Switches that are on by themselves, because on is the safe side.
SAFE_WHEN_ON = {"together"}


def schema_of(entrypoint: str) -> dict[str, Any]:
    """The schema that Prefect draws the form from."""
    return parameter_schema(load_flow_from_entrypoint(str(HOME / entrypoint))).model_dump(mode="json")


def resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema, with what it refers to."""
    for one in (part, *part.get("allOf", ())):
        if "$ref" in one:
            name = one["$ref"].rpartition("/")[2]
            return {**schema["definitions"][name], **{k: v for k, v in part.items() if k not in ("$ref", "allOf")}}
    return part


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a form, groups of fields taken apart."""
    for name, part in schema["properties"].items():
        whole = resolved(part, schema)
        if "properties" in whole:
            yield from fields({**whole, "definitions": schema.get("definitions", {})})
        else:
            yield name, whole


def bounded(field: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Whether a field takes no endless text or number: choices, a pattern, a length, a range, a format."""
    field = resolved(field, schema)
    kind = field.get("type")
    if "enum" in field or "const" in field or kind == "boolean":
        return True
    if kind == "string":
        return bool({"pattern", "maxLength", "format"} & field.keys())
    if kind in ("integer", "number"):
        low, high = {"minimum", "exclusiveMinimum"} & field.keys(), {"maximum", "exclusiveMaximum"} & field.keys()
        return bool(low and high)
    if kind == "array":
        return "maxItems" in field and bounded(field["items"], schema)
    return all(bounded(one, schema) for one in field["anyOf"]) if "anyOf" in field else kind == "null"


@pytest.fixture(params=ENTRYPOINTS, scope="module")
def form(request: pytest.FixtureRequest) -> dict[str, Any]:
    return schema_of(request.param)


def test_every_field_says_what_it_does(form: dict[str, Any]) -> None:
    silent = [name for name, field in fields(form) if not field.get("title") or len(field.get("description", "")) < 10]
    assert silent == []


def test_every_field_offers_choices_or_is_bounded(form: dict[str, Any]) -> None:
    assert [name for name, field in fields(form) if not bounded(field, form)] == []


def test_fields_come_in_the_order_in_which_they_are_written(form: dict[str, Any]) -> None:
    # Without numbers the form shows them in the order of the database; inherit from tasks.forms.Form.
    places = [field.get("position") for _, field in fields(form)]
    assert places == list(range(len(places)))


def test_a_form_that_is_sent_as_it_is_forces_and_approves_nothing(form: dict[str, Any]) -> None:
    on = {name for name, field in fields(form) if field.get("type") == "boolean" and field.get("default") is not False}
    assert on <= SAFE_WHEN_ON
    given = {name: field.get("default") for name, field in fields(form) if name.startswith("approve")}
    assert not any(given.values())


def test_every_flow_can_be_tried_without_changing_anything(form: dict[str, Any]) -> None:
    dry_run = dict(fields(form)).get("dry_run", {})
    assert dry_run.get("default") is False


def test_no_field_asks_for_a_secret(form: dict[str, Any]) -> None:
    # Prefect keeps parameters in plain text; a secret is named, never passed.
    secret = [name for name, field in fields(form) if field.get("format") == "password" or field.get("writeOnly")]
    assert secret == []


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: f"{one['entrypoint']}/{one['name']}")
def test_every_deployment_is_described_and_its_parameters_are_checked(deployment: dict[str, Any]) -> None:
    assert len(deployment["description"]) > 20
    assert deployment["tags"]
    assert deployment["enforce_parameter_schema"] is True
    _, model = load(deployment["entrypoint"].rpartition(":")[2].replace("_", "-"))
    scheduled = [one["parameters"] for one in deployment.get("schedules", ()) if "parameters" in one]
    for parameters in (deployment["parameters"], *scheduled):
        model.model_validate(parameters["request"])


def test_the_form_of_an_approval_shows_the_decision_first_and_presumes_none() -> None:
    form = Decision.model_json_schema()
    assert form["required"] == ["decision"]
    ordered = sorted(form["properties"], key=lambda name: form["properties"][name]["position"])
    assert ordered == ["decision", "reason", "name"]
    decision = form["properties"]["decision"]
    assert (decision["title"], decision["enum"]) == ("Decision", ["approve", "refuse"])


@pytest.mark.parametrize(
    "field",
    [{"type": "string"}, {"type": "integer", "minimum": 1}, {"type": "array", "items": {"type": "string"}}, {}],
    ids=str,
)
def test_what_has_no_bounds_is_found(field: dict[str, Any]) -> None:
    assert not bounded(field, {})

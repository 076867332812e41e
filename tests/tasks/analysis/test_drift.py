"""Drift is shown field by field, and shows no secret."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.analysis.drift import drift
from tasks.models import Drift, RevisionSpec, SecretPin

SPEC = RevisionSpec(image="i@sha256:1", env={"A": "1"}, secret_env={"URL": SecretPin(secret="db", version="3")})


def changed(**fields: Any) -> RevisionSpec:
    return SPEC.model_copy(update=fields)


@pytest.mark.parametrize(
    ("fields", "field", "running", "wanted"),
    [
        ({"memory": "1Gi"}, "memory", "512Mi", "1Gi"),
        ({"max_instances": 9}, "max_instances", "4", "9"),
        ({"command": ("run", "it")}, "command", "", "run it"),
        ({"image": "i@sha256:2"}, "image", "i@sha256:1", "i@sha256:2"),
        ({"sql_instances": ("p:r:i",)}, "sql_instances", "", "p:r:i"),
        ({"env": {"A": "2"}}, "env.A", "1", "2"),
        ({"env": {}}, "env.A", "1", ""),
        ({"env": {"A": "1", "B": "2"}}, "env.B", "", "2"),
        ({"secret_env": {"URL": SecretPin(secret="db", version="4")}}, "secret_env.URL", "db@3", "db@4"),
        ({"secret_env": {}}, "secret_env.URL", "db@3", ""),
    ],
)
def test_each_field_that_differs_is_named(fields: dict[str, Any], field: str, running: str, wanted: str) -> None:
    assert drift(SPEC, changed(**fields)) == (Drift(field=field, running=running, wanted=wanted),)


@pytest.mark.parametrize(
    ("running", "wanted"),
    [
        ({"cpu": "1000m"}, {"cpu": "1"}),
        ({"memory": "1024Mi"}, {"memory": "1Gi"}),
        ({"sql_instances": ("a", "b")}, {"sql_instances": ("b", "a")}),
        ({"labels": {"caretaker-release": "x"}}, {"labels": {"caretaker-release": "y"}}),
        ({"annotations": {"run.googleapis.com/client-name": "gcloud"}}, {}),
        ({"service_account": "1-compute@developer.gserviceaccount.com"}, {"service_account": ""}),
        ({}, {"image": ""}),
    ],
)
def test_what_means_the_same_is_no_drift(running: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert drift(changed(**running), changed(**wanted)) == ()


def test_a_password_in_a_url_is_blotted_out() -> None:
    found = drift(changed(env={"CACHE": "redis://me:hunter2@cache:6379/0"}), changed(env={"CACHE": "redis://cache"}))
    assert found == (Drift(field="env.CACHE", running="redis://me:***@cache:6379/0", wanted="redis://cache"),)


def test_a_plain_value_that_becomes_a_secret_is_not_shown() -> None:
    secret = {"TOKEN": SecretPin(secret="t", version="1")}
    found = drift(changed(env={"TOKEN": "hunter2"}), changed(env={}, secret_env=secret))
    assert "hunter2" not in str(found)
    assert {item.field for item in found} == {"env.TOKEN", "secret_env.TOKEN", "secret_env.URL"}

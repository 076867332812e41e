"""prefect.yaml is read to its last key before anything is registered."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.declared import full_name
from deployments.stack.programs import HOME
from deployments.stack.registration import check, prove_flow
from tasks.errors import BadInput


def written(folder: Path, **changes: object) -> Path:
    entry = {"name": "one", "entrypoint": "flows/deploy.py:deploy", "work_pool": {"name": "caretaker"}, **changes}
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": [entry]}))
    return file


def test_the_file_in_the_repository_is_understood() -> None:
    found = check(HOME / "prefect.yaml")
    assert {full_name(one) for one in found} >= {"deploy/pyplots", "roll-back/pyplots"}


def test_the_name_of_a_deployment_begins_with_its_flows_name() -> None:
    from prefect.flows import load_flow_from_entrypoint

    for one in check(HOME / "prefect.yaml"):
        flow = load_flow_from_entrypoint(str(HOME / one["entrypoint"]))
        assert full_name(one) == f"{flow.name}/{one['name']}"


def test_a_key_that_prefect_would_silently_ignore_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    said = r"deployment one in prefect\.yaml failed: there is no key tagz; did you mean tags\?"
    with pytest.raises(BadInput, match=said):
        check(written(tmp_path, tagz=["a"]))


def test_a_schedule_that_would_undo_an_operators_pause_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="would undo an operator's pause"):
        check(written(tmp_path, schedules=[{"cron": "0 3 * * *", "active": True}]))
    check(written(tmp_path, schedules=[{"cron": "0 3 * * *", "slug": "nightly"}]))


def test_a_flow_that_cannot_be_imported_is_refused_and_not_registered_as_an_empty_shell(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import a_module_that_does_not_exist\n")
    file = written(tmp_path, entrypoint="broken.py:flow")
    with pytest.raises(BadInput, match=r"importing broken\.py:flow for deployment one failed: ModuleNotFoundError"):
        prove_flow(file, check(file)[0])

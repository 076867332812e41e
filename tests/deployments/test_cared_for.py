"""Which estates a prefect.yaml takes care of, and whether they need a local cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.cared_for import estates, needs_local_cloud, prove_cared_for
from deployments.declared import declared
from deployments.stack.programs import HOME, PREFECT_YAML
from tasks.errors import BadInput, OpsError
from tasks.estate import Estate

SAMPLE = HOME / "estate.toml"


def estate(folder: Path, name: str, *, real: bool) -> Estate:
    """An estate file of a name, on Google or on the local cloud."""
    text = SAMPLE.read_text()
    file = folder / name
    file.write_text(text.replace("local_cloud = true\n", "") if real else text)
    return Estate.load(file)


def written(folder: Path, *names: str) -> Path:
    """A prefect.yaml with a deployment for each of these estates."""
    entries = [{**entry(number), "parameters": of(name)} for number, name in enumerate(names)]
    return save(folder, entries)


def save(folder: Path, entries: list[dict[str, Any]]) -> Path:
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": entries}))
    return file


def entry(number: int) -> dict[str, Any]:
    return {"name": f"n{number}", "entrypoint": "flows/roll_back.py:roll_back"}


def of(name: str) -> dict[str, Any]:
    return {"request": {"estate": name}}


def test_every_deployment_of_the_repository_takes_care_of_the_sample() -> None:
    found = estates(PREFECT_YAML)
    assert list(found) == [SAMPLE]
    assert len(found[SAMPLE]) == len(declared(PREFECT_YAML))


def test_a_schedules_own_parameters_count_and_a_relative_path_is_one_of_the_files_folder(tmp_path: Path) -> None:
    own = {"cron": "0 5 1 * *", "parameters": of("/other/two.toml")}
    file = save(tmp_path, [{**entry(0), "parameters": of("one.toml"), "schedules": [own]}])
    assert estates(file) == {tmp_path / "one.toml": ["roll-back/n0"], Path("/other/two.toml"): ["roll-back/n0"]}


def test_a_real_estate_that_none_names_is_refused_and_one_that_is_named_is_not(tmp_path: Path) -> None:
    file = written(tmp_path, "production.toml")
    prove_cared_for(file, estate(tmp_path, "production.toml", real=True))
    with pytest.raises(BadInput, match=r"staging\.toml refused: .*named are: production\.toml"):
        prove_cared_for(file, estate(tmp_path, "staging.toml", real=True))
    prove_cared_for(file, estate(tmp_path, "sample.toml", real=False))  # tried by hand, on the local cloud


def test_the_local_cloud_is_needed_where_any_estate_that_is_cared_for_lives_there(tmp_path: Path) -> None:
    real, sample = estate(tmp_path, "production.toml", real=True), estate(tmp_path, "sample.toml", real=False)
    alone = written(tmp_path, "production.toml")
    assert (needs_local_cloud(alone, real), needs_local_cloud(alone, sample)) == (False, True)
    assert needs_local_cloud(written(tmp_path, "production.toml", "sample.toml"), real)


def test_an_estate_that_a_deployment_names_and_that_is_not_there_is_named(tmp_path: Path) -> None:
    real = estate(tmp_path, "production.toml", real=True)
    with pytest.raises(OpsError, match=r"gone\.toml"):
        needs_local_cloud(written(tmp_path, "production.toml", "gone.toml"), real)

"""The doctor asks everything once, hides nothing, and names the way out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.doctor import Answer, examine, print_findings
from deployments.permissions import ROLES, missing_roles
from deployments.stack.folder import Folder
from tasks.clients.google import Google
from tasks.errors import OpsError
from tasks.estate import Estate
from tasks.settings import settings
from tests import corpus, log_analytics

ESTATE = Path(__file__).parents[2] / "estate.toml"


@pytest.fixture
def found(local_cloud: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: str) -> list[Answer]:
    """What the doctor says of an empty local cloud, without Prefect and without a ledger."""
    monkeypatch.setenv("CARETAKER_STATE", str(local_cloud.state))
    file = tmp_path / "estate.toml"
    file.write_text(ESTATE.read_text().replace("pyplots-local", project))
    return examine(Folder(local_cloud.state), file)


def test_each_api_is_asked_and_what_is_missing_has_its_way_out(found: list[Answer]) -> None:
    by_check = {answer.check: answer for answer in found}
    well = {check for check, answer in by_check.items() if answer.ok}
    assert well == {
        "estate", "deployments", "credentials", "permissions", "Cloud Run", "Cloud Build", "Logging", "Monitoring",
    }  # fmt: skip
    assert "gcloud secrets versions add sync-token" in by_check["secret sync-token"].says
    assert "run 'caretaker up'" in by_check["Prefect's API"].says
    assert "run 'caretaker up'" in by_check["ledger"].says
    assert not by_check["database pyplots"].ok


def test_a_log_dataset_that_is_not_there_is_named_and_one_that_is_can_be_read(
    local_cloud: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: str
) -> None:
    monkeypatch.setenv("CARETAKER_STATE", str(local_cloud.state))
    file = tmp_path / "estate.toml"
    text = ESTATE.read_text().replace("pyplots-local", project)
    file.write_text(text.replace("[review]\n", f'[review]\nlog_dataset = "{project}.logs._AllLogs"\n'))
    (missing,) = (one for one in examine(Folder(local_cloud.state), file) if one.check == "log dataset")
    assert not missing.ok
    assert "Not found" in missing.says
    google = Google(Estate.load(file).google, settings())
    log_analytics.fill(google, corpus.entries(4, 20, project=project))
    (there,) = (one for one in examine(Folder(local_cloud.state), file) if one.check == "log dataset")
    assert there.ok, there.says


def test_one_failed_check_is_exit_status_1(found: list[Answer], capsys: pytest.CaptureFixture[str]) -> None:
    assert print_findings(found, as_json=False) == 1
    assert "✗ secret sync-token: " in capsys.readouterr().out
    assert print_findings([Answer("estate", True, "well")], as_json=False) == 0


def test_without_a_local_cloud_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARETAKER_STATE", str(tmp_path))
    found = examine(Folder(tmp_path), ESTATE)
    assert [answer.check for answer in found] == ["estate", "deployments", "credentials", "Prefect's API", "ledger"]


class Answering:
    """Google's Resource Manager, as far as it grants permissions."""

    def __init__(self, status: int, granted: list[str]) -> None:
        self.status_code, self._granted, self.asked = status, granted, []  # type: ignore[var-annotated]

    def post(self, url: str, json: dict[str, list[str]], timeout: float) -> Answering:
        self.asked.append((url, json["permissions"]))
        return self

    def json(self) -> dict[str, list[str]]:
        return {"permissions": self._granted} if self._granted else {}


ON_GOOGLE = SimpleNamespace(project="prod", member="serviceAccount:ops@prod.iam.gserviceaccount.com")


def test_a_missing_role_is_named_with_the_command_that_grants_it() -> None:
    session = Answering(200, [permission for role, permission in ROLES.items() if role != "roles/run.developer"])
    missing = missing_roles(ON_GOOGLE, session)  # type: ignore[arg-type]
    assert missing == {
        "roles/run.developer": "gcloud projects add-iam-policy-binding prod "
        "--member=serviceAccount:ops@prod.iam.gserviceaccount.com --role=roles/run.developer"
    }
    assert session.asked[0][0].endswith("/projects/prod:testIamPermissions")


def test_a_project_that_grants_nothing_lacks_every_role_and_no_answer_is_no_grant() -> None:
    assert missing_roles(ON_GOOGLE, Answering(200, [])).keys() == ROLES.keys()  # type: ignore[arg-type]
    with pytest.raises(OpsError, match=r"gcloud services enable cloudresourcemanager\.googleapis\.com --project=prod"):
        missing_roles(ON_GOOGLE, Answering(403, []))  # type: ignore[arg-type]

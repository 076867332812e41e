"""What embedded servers keep in the temporary folder: nothing that another user made, or may write to, is used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from embedded.temporary import NotOurs, shared_file, socket_folder


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_state_has_one_socket_folder_and_another_state_another(tmp_path: Path) -> None:
    made = socket_folder(tmp_path / "state")
    assert socket_folder(tmp_path / "state") == made
    assert socket_folder(tmp_path / "other") != made


def test_a_socket_folder_that_others_may_write_to_or_that_is_a_link_is_refused(tmp_path: Path) -> None:
    made = socket_folder(tmp_path)
    made.chmod(0o777)
    with pytest.raises(NotOurs, match="others may write there; remove it"):
        socket_folder(tmp_path)
    made.rmdir()
    made.symlink_to(tmp_path)
    with pytest.raises(NotOurs, match="remove it"):
        socket_folder(tmp_path)


def test_a_shared_file_that_is_a_link_or_a_folder_or_another_users_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / f"ck-ports-{os.getuid()}"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotOurs, match=f"opening {path} failed: .*; remove it, or set TMPDIR"):
        shared_file("ports")
    path.unlink()
    path.mkdir()
    with pytest.raises(NotOurs, match="remove it"):
        shared_file("ports")
    path.rmdir()
    path.touch()
    path.chmod(0o666)
    with pytest.raises(NotOurs, match="others may write there"):
        shared_file("ports")


def test_a_shared_file_is_opened_for_its_owner_alone() -> None:
    descriptor = shared_file("ports")
    assert os.fstat(descriptor).st_mode & 0o777 == 0o600
    os.close(descriptor)

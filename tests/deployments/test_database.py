"""The stack's own PostgreSQL: whom its socket's folder belongs to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from deployments.stack.database import sockets
from deployments.stack.folder import Folder
from tasks.errors import OpsError


def test_a_socket_folder_that_others_may_write_to_or_that_is_a_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = Folder(tmp_path / "state")
    made = sockets(folder)
    assert sockets(folder) == made
    made.chmod(0o777)
    with pytest.raises(OpsError, match="others may write there; remove it"):
        sockets(folder)
    made.rmdir()
    made.symlink_to(tmp_path)
    with pytest.raises(OpsError, match="remove it"):
        sockets(folder)

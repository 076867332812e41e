"""What of a source is packed, and that the archive is what its digest says."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tasks.clients.source_archive import archive, read_tree
from tasks.errors import Conflict


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"Procfile": "web: python app.py\n", "app.py": "print(1)\n", ".env": "TOKEN=secret\n"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_same_content_gives_the_same_bytes_and_what_is_private_stays_out(folder: Path) -> None:
    digest = read_tree(folder, "api", "buildpack").digest
    data = archive(folder, digest)
    assert data == archive(folder, digest)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["Procfile", "app.py"]


def test_a_source_that_was_changed_since_it_was_read_is_not_stored_under_the_digest_of_what_was_planned(
    folder: Path,
) -> None:
    digest = read_tree(folder, "api", "buildpack").digest
    (folder / "app.py").write_text("print(2)\n")
    with pytest.raises(Conflict, match="changed since the plan was made; run the flow again"):
        archive(folder, digest)

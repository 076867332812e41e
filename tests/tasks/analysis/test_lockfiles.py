"""Locks read by structure, and what changes between two of them."""

from __future__ import annotations

import json

import pytest

from tasks.analysis.lock_diff import is_major, updates_between
from tasks.analysis.lockfiles import read_lock
from tasks.errors import BadInput

UV = """version = 1
requires-python = ">=3.11"

[[package]]
name = "app"
source = { virtual = "." }
dependencies = [{ name = "web" }]
[package.dev-dependencies]
dev = [{ name = "tests-of-it" }]

[[package]]
name = "web"
version = "1.0"
source = { registry = "https://index.example/simple" }
dependencies = [{ name = "inner", marker = "python_full_version < '3.13'" }]

[[package]]
name = "inner"
version = "1.0"
source = { registry = "https://index.example/simple" }

[[package]]
name = "inner"
version = "2.0"
source = { registry = "https://index.example/simple" }

[[package]]
name = "tests-of-it"
version = "0.4.1"
source = { git = "https://git.example/it?rev=1#abc" }
"""

REQUIREMENTS = """# made by a person's command
alembic==1.20.1
    # via -r requirements.in
mako==1.4.3 \\
    --hash=sha256:00
    # via
    #   alembic
    #   other
other==2.0 ; implementation_name != 'pypy'
    # via -r requirements.in
"""

NPM = {
    "lockfileVersion": 3,
    "packages": {
        "": {"dependencies": {"web": "^1.0.0"}},
        "node_modules/web": {"version": "1.0.0", "resolved": "https://r.example/w.tgz", "dependencies": {"ms": "*"}},
        "node_modules/ms": {"version": "2.1.0", "resolved": "https://r.example/ms.tgz", "deprecated": "use other"},
        "node_modules/web/node_modules/ms": {"version": "1.0.0", "resolved": "https://r.example/ms.tgz"},
        "node_modules/local": {"link": True},
    },
}


def test_a_uv_lock_gives_direct_transitive_and_forked_packages() -> None:
    graph = read_lock("uv", UV, "uv.lock")
    assert graph.direct == {"web", "tests-of-it"}
    assert graph.packages["inner"].versions == ("1.0", "2.0")
    assert graph.packages["web"].needs == ("inner",)
    assert not graph.packages["tests-of-it"].registry


def test_compiled_requirements_tell_who_asked_for_what() -> None:
    graph = read_lock("requirements", REQUIREMENTS, "requirements.txt")
    assert graph.direct == {"alembic", "other"}
    assert {name: one.versions[0] for name, one in graph.packages.items()} == {
        "alembic": "1.20.1", "mako": "1.4.3", "other": "2.0"
    }  # fmt: skip
    assert graph.packages["alembic"].needs == ("mako",)
    assert graph.packages["other"].needs == ("mako",)


def test_an_npm_lock_gives_nested_versions_and_what_is_deprecated() -> None:
    graph = read_lock("npm", json.dumps(NPM), "package-lock.json")
    assert (graph.direct, set(graph.packages)) == ({"web"}, {"web", "ms"})
    assert graph.packages["ms"].versions == ("1.0.0", "2.1.0")
    assert graph.packages["ms"].deprecated == "use other"


@pytest.mark.parametrize(
    ("kind", "text"),
    [("uv", "version = 9"), ("uv", "no toml ="), ("uv", "version = 1\n[[package]]\nname = 'a'"),
     ("requirements", "a>=1"), ("npm", "[]"), ("npm", '{"lockfileVersion": 1}')],
)  # fmt: skip
def test_what_is_no_lock_of_its_kind_is_refused_in_one_line(kind: str, text: str) -> None:
    with pytest.raises(BadInput, match=r"reading the lock a/lock failed: .*; make it anew") as said:
        read_lock(kind, text, "a/lock")  # type: ignore[arg-type]
    assert "\n" not in str(said.value)


def test_a_difference_says_what_is_major_direct_new_gone_and_why_it_is_there() -> None:
    before = read_lock("uv", UV, "uv.lock")
    after = read_lock("uv", UV.replace('"web"\nversion = "1.0"', '"web"\nversion = "2.0"').replace("inner", "core"), "")
    found = {one.package: one for one in updates_between("api", "uv", before, after)}
    assert (found["web"].old, found["web"].new, found["web"].major, found["web"].direct) == ("1.0", "2.0", True, True)
    assert (found["inner"].new, found["core"].old, found["core"].why) == ("", "", ("web", "core"))
    assert "tests-of-it" not in found
    assert found["web"].key == "api:web"


def test_an_update_comes_after_what_it_needs() -> None:
    before = read_lock("uv", UV, "uv.lock")
    after = read_lock("uv", UV.replace('version = "1.0"', 'version = "1.5"'), "uv.lock")
    assert [one.package for one in updates_between(".", "uv", before, after)] == ["inner", "web"]


@pytest.mark.parametrize(
    ("old", "new", "major"),
    [("1.4", "2.0", True), ("1.4", "1.5", False), ("0.4.1", "0.5", True), ("0.0.3", "0.0.4", True),
     ("2024.1", "2025.1", True), ("1.0", "1.0.post1", False), ("0.4.1", "0.4.2", False)],
)  # fmt: skip
def test_major_is_the_first_number_that_is_not_nought(old: str, new: str, major: bool) -> None:
    assert is_major(old, new) is major

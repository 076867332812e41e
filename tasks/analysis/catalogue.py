"""Compares what two databases are made of.

Safety property: nothing is left aside. What one side has and the other has not, and what is defined otherwise, is each
named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.analysis.units import counted
from tasks.backup_models import Catalogue, Evidence
from tasks.backup_models import Sequence as NumberSequence

SHOWN = 160
PLURALS = {"index": "indexes"}


def compare(expected: Catalogue, found: Catalogue) -> list[Evidence]:
    """One line for each kind that agrees, and one for each thing that does not."""
    evidence: list[Evidence] = []
    for kind in expected.keys() | found.keys():
        here, there = expected.get(kind, {}), found.get(kind, {})
        evidence += list(_differences(kind, here, there)) or _agreement(kind, here)
    return sorted(evidence, key=lambda item: (item.ok, item.what))


def sequences(found: Sequence[NumberSequence]) -> list[Evidence]:
    """Whether each sequence gives a value that its column does not hold yet."""
    behind = [item for item in found if not item.ahead]
    if not behind:
        return [Evidence(what=f"{counted(len(found), 'sequence')} ahead of the columns that they fill")]
    return [
        Evidence(
            what=f"sequence {item.name} is behind {item.column}: it gives {item.next} next, the column holds "
            f"{item.greatest}", ok=False,
        )
        for item in behind
    ]  # fmt: skip


def invalid_indexes(found: Sequence[str], known: Catalogue) -> list[Evidence]:
    """Indexes that no query uses. One that was invalid on production already is said, and held against production.

    One may have been under construction, which is a change of production like any other.
    """
    if not found:
        return [Evidence(what="no invalid index")]
    had = {_bare(name) for name, definition in known.get("index", {}).items() if definition.endswith(" INVALID")}
    too = {name: " on production too" if _bare(name) in had else "" for name in found}
    return [Evidence(what=f"index {name} is invalid{too[name]}", ok=False, compared=True) for name in found]


def _agreement(kind: str, here: dict[str, str]) -> list[Evidence]:
    if kind == "schema revision" and here:
        return [Evidence(what=f"schema revision {', '.join(here.values())}, as on production")]
    return [Evidence(what=f"{counted(len(here), kind, PLURALS.get(kind, ''))} as on production")] if here else []


def _differences(kind: str, here: dict[str, str], there: dict[str, str]) -> Iterator[Evidence]:
    for name in sorted(here.keys() - there.keys()):
        yield Evidence(what=f"{kind} {name} is missing ({_short(here[name])} on production)", ok=False, compared=True)
    for name in sorted(there.keys() - here.keys()):
        yield Evidence(what=f"{kind} {name} is not on production ({_short(there[name])})", ok=False, compared=True)
    for name in sorted(name for name in here.keys() & there.keys() if here[name] != there[name]):
        what = f"{kind} {name} is {_short(there[name])} instead of {_short(here[name])}"
        yield Evidence(what=what, ok=False, compared=True)


def _bare(name: str) -> str:
    return name.rpartition(".")[2].strip('"')


def _short(definition: str) -> str:
    text = " ".join(definition.split()) or "nothing"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"

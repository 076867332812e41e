"""``make bench``: runs the benchmarks, prints a table, and writes ``bench.json`` into the state folder.

A benchmark is a module ``bench_NAME.py`` with a function ``bench``, which takes the state folder if it needs one, and
returns rows of ``name``, ``value``, ``unit``, ``goal``, ``ok`` and ``against``. Exit status 1 when a goal is missed.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.settings import settings

FIELDS = ("name", "value", "unit", "goal", "ok", "against")


def main(chosen: list[str]) -> int:
    """Run the benchmarks that were named, or all."""
    names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    if unknown := set(chosen) - set(names):
        print(f"error: running benchmark {', '.join(unknown)} failed: there are {', '.join(names)}", file=sys.stderr)
        return 1
    state = settings().state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    rows = [row for name in chosen or names for row in run(name, state)]
    (state / "bench.json").write_text(json.dumps(rows, indent=1))
    Console().print(table(rows))
    return 0 if all(row["ok"] for row in rows) else 1


def run(name: str, state: Path) -> Iterator[dict[str, Any]]:
    """Run one benchmark. Fails when a row lacks a field."""
    function = importlib.import_module(f"tests.benchmarks.bench_{name}").bench
    for row in function(state) if inspect.signature(function).parameters else function():
        assert row.keys() == set(FIELDS), f"{name}: {row.keys() ^ set(FIELDS)}"
        yield row


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a person."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for title in FIELDS:
        shown.add_column(title, justify="right" if title == "value" else "left")
    for row in rows:
        mark = "[green]✓[/]" if row["ok"] else "[red]✗[/]"
        goal = "" if row["goal"] is None else str(row["goal"])
        shown.add_row(row["name"], f"{row['value']:g}", row["unit"], goal, mark, row["against"])
    return shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What ``caretaker up`` prints last: where everything is, and how long it took."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_summary(status: dict[str, Any], failed: int, stop: str) -> None:
    """Print the URLs, whether the services are released, and how to stop it all."""
    console = Console()
    console.print(status_table(status))
    # A busy machine may not tell its status in time; that it is up was read from its folder.
    spent = status.get("ready_after")
    seconds = "an unknown time" if spent is None else f"{spent:.1f} s"
    if failed:
        console.print(f"[red]up after {seconds}, but the first steps failed[/] (see above); {stop} stops it all")
    else:
        console.print(f"[green]{'released' if status['services'] else 'up'} in {seconds}[/]; {stop} stops it all")


def status_table(status: dict[str, Any]) -> Table:
    """The status for a person: what there is, where, and how it is."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("what", "where", "how"):
        table.add_column(title, overflow="fold")
    for name, service in status["services"].items():
        text = f"{service['health']} {service['revision']}"
        table.add_row(name, service["url"], _mark(service["health"] == "ok", text))
    for name, url in status["urls"].items():
        table.add_row(name.replace("_", " "), url, "")
    for name, process in status["processes"].items():
        text = f"process {process['pid']}, {process['memory_mb']:.0f} MiB"
        table.add_row(name, "", _mark(process["healthy"], text))
    for deployment in status["deployments"]:
        table.add_row(deployment["name"], _when(deployment), deployment["last_verdict"] or "never ran")
    return table


def _when(deployment: dict[str, Any]) -> str:
    if deployment["paused"]:
        return "paused"
    if deployment["next_run"]:
        return f"next {deployment['next_run']}"
    return "scheduled" if deployment["scheduled"] else "on demand"  # its runs are made within a minute


def _mark(well: bool, text: str) -> str:
    return f"[green]✓[/] {text}" if well else f"[red]✗[/] {text}"

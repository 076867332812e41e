"""The live view of ``caretaker run``: steps as they end, and how far the long ones are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tasks import progress


class StepView:
    """What the screen shows: ended steps above, running ones below."""

    def __init__(self, title: str) -> None:
        self._title, self._began = title, time.monotonic()
        self.live: Live | None = None
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], progress.Progress] = {}
        self._ended: list[tuple[str, str]] = []

    @contextmanager
    def aside(self) -> Iterator[Console]:
        """Leave the screen to somebody else while the block runs."""
        if self.live:
            self.live.stop()
        try:
            yield self.live.console if self.live else Console(stderr=True)
        finally:
            if self.live:
                self.live.start()

    def report(self, seen: progress.Progress) -> None:
        with self._lock:
            self._running[(seen.step, seen.subject)] = seen

    def ended(self, step: str, state: str) -> None:
        with self._lock:
            self._ended.append((step, state))

    def __rich__(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        with self._lock:
            for step, state in self._ended[-12:]:
                table.add_row("[green]✓[/]" if "Completed" in state else "[red]✗[/]", Text(step.replace("_", " ")), "")
            for seen in list(self._running.values())[-6:]:
                done = seen.fraction is not None and seen.fraction >= 1
                mark = "[green]✓[/]" if done else Spinner("dots")
                bar = "" if seen.fraction is None else ProgressBar(total=1, completed=seen.fraction, width=24)
                table.add_row(mark, Text(f"{seen.step} {seen.subject}: {seen.text}"), bar)
        table.add_row("", f"[dim]{self._title}, {time.monotonic() - self._began:.0f} s[/]", "")
        return table


class _TaskRunHandler(logging.Handler):
    """Hears from Prefect's own log when a task run has ended."""

    def __init__(self, view: StepView, plain: Console | None) -> None:
        super().__init__(logging.INFO)
        self._view, self._plain = view, plain

    def emit(self, record: logging.LogRecord) -> None:
        """Show it. A screen that is gone must not end the release: logging's own way of saying so is used."""
        try:
            self._show(record, record.getMessage())
        except Exception:  # noqa: BLE001
            self.handleError(record)

    def _show(self, record: logging.LogRecord, message: str) -> None:
        if not message.startswith("Finished in state"):
            return
        step = str(getattr(record, "task_name", "") or getattr(record, "task_run_name", "step"))
        self._view.ended(step, message)
        if self._plain:
            self._plain.print(
                f"{step.replace('_', ' ')}: {message.removeprefix('Finished in state ')[:160]}",
                highlight=False,
                markup=False,
            )


@contextmanager
def live_view(title: str, *, plain: bool) -> Iterator[StepView]:
    """Show the steps of a flow on standard error while the block runs; line by line where that is no terminal."""
    console = Console(stderr=True)
    view = StepView(title)
    handler = _TaskRunHandler(view, console if plain else None)
    logger = logging.getLogger("prefect.task_runs")
    logger.addHandler(handler)
    stop = progress.listen(_Printer(console).report if plain else view.report)
    try:
        if plain:
            yield view
        else:
            with Live(view, console=console, refresh_per_second=8) as view.live:
                yield view
    finally:
        stop()
        logger.removeHandler(handler)


class _Printer:
    """Prints each report once, where there is no screen to draw on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[tuple[str, str], str] = {}

    def report(self, seen: progress.Progress) -> None:
        if self._last.get((seen.step, seen.subject)) != seen.text:
            self._last[(seen.step, seen.subject)] = seen.text
            text = f"{seen.step} {seen.subject}: {seen.text}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

"""Observations on their way off a hot path: taken in microseconds, written in batches by one thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

LOG = logging.getLogger("localcloud.run.batches")
FLUSH_SECONDS = 0.1

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """Collects items from any thread and hands them to ``write`` a few times a second, in order."""

    def __init__(self, name: str, write: Callable[[list[Item]], None]) -> None:
        self._write = write
        self._items: deque[Item] = deque()
        self._flushing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what is left, and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self.flush()

    def add(self, item: Item) -> None:
        """Take one item; never blocks."""
        self._items.append(item)

    def flush(self) -> None:
        """Write everything that was taken so far."""
        with self._flushing:
            batch = [self._items.popleft() for _ in range(len(self._items))]
            if batch:
                self._write(batch)

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            try:
                self.flush()
            except Exception:
                LOG.exception("writing observations failed; a batch is lost")

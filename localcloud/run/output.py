"""What a container prints, as log entries: one line, one entry; JSON lines are structured, as Cloud Run reads them.

Source: https://cloud.google.com/logging/docs/structured-logging (special fields in JSON payloads).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from google.cloud.logging_v2.types import LogEntry
from google.logging.type import log_severity_pb2
from google.protobuf import struct_pb2, timestamp_pb2

#: A log entry may have 256 KB; a longer line is cut into several.
LONGEST_LINE = 200_000
_SPECIAL = "logging.googleapis.com/"
_SEVERITIES = {"WARN": "WARNING", "FATAL": "CRITICAL", "TRACE": "DEBUG"}


@dataclass(frozen=True)
class Source:
    """Who printed: the monitored resource, and the labels that its entries bear."""

    project: str
    resource: Any
    labels: dict[str, str] = field(default_factory=dict)

    def log(self, stream: str) -> str:
        """The full log name of ``stdout``, ``stderr`` or ``varlog/system``."""
        return f"projects/{self.project}/logs/run.googleapis.com%2F{stream.replace('/', '%2F')}"


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line. ``at`` is seconds since the epoch; ``insert_id`` may be empty."""

    source: Source
    stream: str
    text: str
    at: float
    insert_id: str = ""


def entry(line: Line) -> LogEntry:
    """A printed line as a log entry."""
    made = LogEntry(
        log_name=line.source.log(line.stream), resource=line.source.resource, labels=line.source.labels,
        timestamp=datetime.fromtimestamp(line.at, UTC), insert_id=line.insert_id,
    )  # fmt: skip
    structured = _object(line.text)
    if structured is None:
        made.text_payload = line.text
    else:
        _fill(made, structured, line.source.project)
    return made


def _object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _fill(made: LogEntry, fields: dict[str, Any], project: str) -> None:
    made.severity = _severity(str(fields.pop("severity", "")))
    _lift_time(made, fields)
    trace = str(fields.pop(f"{_SPECIAL}trace", ""))
    if trace:
        made.trace = trace if trace.startswith("projects/") else f"projects/{project}/traces/{trace}"
    made.span_id = str(fields.pop(f"{_SPECIAL}spanId", ""))
    labels = fields.pop(f"{_SPECIAL}labels", None)
    if isinstance(labels, dict):
        made.labels.update({str(key): str(value) for key, value in labels.items()})
    if list(fields) == ["message"] and isinstance(fields["message"], str):
        made.text_payload = fields["message"]  # nothing but a message is left: the entry is plain text
    else:
        payload = struct_pb2.Struct()
        payload.update(fields)
        LogEntry.pb(made).json_payload.CopyFrom(payload)


def _severity(word: str) -> Any:
    upper = word.upper()
    names = log_severity_pb2.LogSeverity
    return names.Value(_SEVERITIES.get(upper, upper)) if _SEVERITIES.get(upper, upper) in names.keys() else 0  # noqa: SIM118


def _lift_time(made: LogEntry, fields: dict[str, Any]) -> None:
    for key in ("time", "timestamp"):
        stamp = timestamp_pb2.Timestamp()
        try:
            stamp.FromJsonString(fields[key])
        except (KeyError, ValueError, TypeError, AttributeError):
            continue
        LogEntry.pb(made).timestamp.CopyFrom(stamp)
        del fields[key]
        return


class Lines:
    """Cuts a stream of bytes into lines of text."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take, self._rest = take, b""

    @property
    def pending(self) -> int:
        """Bytes of a line that has not ended yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(self._rest) > LONGEST_LINE:
            self._emit(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def end(self) -> None:
        """The stream is over: what is left is a line."""
        self._emit(self._rest)
        self._rest = b""

    def _emit(self, line: bytes) -> None:
        text = line.rstrip(b"\r").decode(errors="replace")
        if text:
            self._take(text)


class PipeReader(asyncio.Protocol):
    """Reads a process's pipe on the event loop; ``over`` is set at its end."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._lines = Lines(take)
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._lines.feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._lines.end()
        self.over.set()

    @classmethod
    async def attach(cls, pipe: IO[bytes], take: Callable[[str], None]) -> PipeReader:
        _, reader = await asyncio.get_running_loop().connect_read_pipe(lambda: cls(take), pipe)
        return reader

"""Counts a week's entries as they stream by: masked lines, traces, requests, what the platform said.

Safety property: the memory does not grow with the week. Only masked text is kept (a trace that is still being printed:
its frames), so the whole tally may be written down at any page and read back by a run that goes on. When there are
more different lines than fit, they are folded into their patterns; nothing is dropped without being counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from tasks.analysis.latency_sketch import Sketch
from tasks.analysis.masking import hide, mask
from tasks.analysis.stack_traces import (
    MOST_LINES,
    Trace,
    begins_trace,
    continues_trace,
    holds_trace,
    read_trace,
)
from tasks.log_models import Entry, Level, Request

#: So many different masked lines are told apart before they are folded.
MOST_LINES_APART = 60_000
MOST_ROUTES = 2_000
#: Traces that are being printed at the same time, by different instances.
MOST_OPEN = 500
HOUR = 3600
#: What stands for lines of which there are too many different ones to find their pattern.
OTHER_LINES = "<lines of too many kinds>"
OTHER_ROUTES = "<other routes>"

_ERROR, _WARNING = 500, 400
_LEVEL_WORD = re.compile(
    r"\b(?:(CRITICAL|FATAL|ERROR|Error|error|PANIC|panic|SEVERE)|(WARN|WARNING|Warning|warning))\b"
)
_PLATFORM = (
    ("out of memory", re.compile(r"Memory limit of .{1,40} exceeded|out of memory|OOMKilled", re.I)),
    (
        "restart",
        re.compile(r"Container called exit\(|[Tt]erminated on signal|Uncaught signal|failed its liveness probe"),
    ),
    ("cold start", re.compile(r"Starting new instance\. Reason: (?:AUTOSCALING|MANUAL_OR_CUSTOMER_MIN_INSTANCE)")),
)
#: Where the platform logs requests. An application's line that bears its request is a line: the request is there too.
_REQUEST_LOGS = ("requests", "request_log")
_VARIABLE_SEGMENT = re.compile(r"/(?=[^/]*\d|[^/]{25,})[^/]+")


class LineKey(NamedTuple):
    """What tells lines apart."""

    service: str
    level: Level
    kind: str
    text: str


class LineCount:
    """One masked line: how often, how many bytes, the first and last time in seconds, and how often in each hour."""

    __slots__ = ("count", "first", "hourly", "last", "size")

    def __init__(self, at: float) -> None:
        self.count = self.size = 0
        self.first = self.last = at
        self.hourly: dict[int, int] = {}

    def add(self, at: float, size: int, hour: int, times: int = 1, last: float = 0.0) -> None:
        """Count a line, or so many of one hour, the last of them at ``last``."""
        self.count += times
        self.size += size
        self.hourly[hour] = self.hourly.get(hour, 0) + times
        if at < self.first:
            self.first = at
        if at > self.last:
            self.last = at
        if last > self.last:
            self.last = last

    def merge(self, other: LineCount) -> None:
        """Count what another line has counted: one pattern's lines become one."""
        self.count += other.count
        self.size += other.size
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        for hour, count in other.hourly.items():
            self.hourly[hour] = self.hourly.get(hour, 0) + count


class RequestCount:
    """Requests of one service or route: how many, how many failed, how long they took."""

    __slots__ = ("errors", "requests", "sketch")

    def __init__(self, requests: int = 0, errors: int = 0, buckets: Mapping[int, int] | None = None) -> None:
        self.requests, self.errors, self.sketch = requests, errors, Sketch(buckets)

    def add(self, request: Request, times: int = 1) -> None:
        self.requests += times
        self.errors += times * (request.status >= 500)
        self.sketch.add(request.latency, times)

    def merge(self, other: RequestCount) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.sketch.merge(other.sketch)


Fold = Callable[[Iterable[tuple[LineKey, int]]], Mapping[LineKey, LineKey]]


class Tally:
    """The counts of a week, or of its part so far. ``start`` is its first instant, in seconds since the epoch."""

    def __init__(self, start: float, fold: Fold | None = None, most_lines: int = MOST_LINES_APART) -> None:
        self.start, self._fold, self._most = start, fold, most_lines
        self.read = self.size = self.unmatched = 0
        self.lines: dict[LineKey, LineCount] = {}
        self.requests: dict[tuple[str, int], RequestCount] = {}
        self.routes: dict[tuple[str, str], RequestCount] = {}
        self.platform: dict[tuple[str, str], list[Any]] = {}
        self.loggers: dict[tuple[str, str], list[int]] = {}
        self.open: dict[tuple[str, str, str], tuple[Trace, float, int]] = {}

    def take(self, entries: Iterable[Entry]) -> None:
        """Count entries."""
        for entry in entries:
            self.read += entry.times
            self.size += entry.size
            logger = self.loggers.setdefault((entry.service, entry.log), [0, 0])
            logger[0] += entry.times
            logger[1] += entry.size
            if entry.request is not None and (not entry.text or entry.log.endswith(_REQUEST_LOGS)):
                self._request(entry, entry.request)
            elif entry.text:
                self._text(entry)
        if len(self.lines) > self._most:
            self.fold()

    def close(self) -> None:
        """The week is over: traces that were being printed end where they are."""
        for key in list(self.open):
            self._close(key)

    def fold(self) -> None:
        """Make one line of the lines of each pattern; where that does not help, count the rare ones together."""
        if self._fold is not None:
            self._rename(self._fold((key, line.count) for key, line in self.lines.items()))
        if len(self.lines) > self._most // 2:
            rare = sorted(self.lines, key=lambda key: (self.lines[key].count, key))[: len(self.lines) - self._most // 2]
            self.unmatched += sum(self.lines[key].count for key in rare if key.text != OTHER_LINES)
            self._rename({key: key._replace(kind="line", text=OTHER_LINES) for key in rare})

    def _rename(self, names: Mapping[LineKey, LineKey]) -> None:
        kept: dict[LineKey, LineCount] = {}
        for key, line in self.lines.items():
            name = names.get(key, key)
            if name in kept:
                kept[name].merge(line)
            else:
                kept[name] = line
        self.lines = kept

    def _text(self, entry: Entry) -> None:
        for what, sign in _PLATFORM if entry.log.endswith("varlog/system") else ():
            if sign.search(entry.text[:500]):
                self._happened(what, entry)
        stream = (entry.service, entry.source, entry.log)
        if stream in self.open and self._goes_on(stream, entry):
            return
        if begins_trace(entry.text) and "\n" not in entry.text.rstrip("\n"):
            self._begin(stream, entry)
        elif holds_trace(entry.text):
            self._line(entry, LineKey(entry.service, "error", "stack", read_trace(entry.text).template))
        else:
            level = level_of(entry.severity, entry.text)
            self._line(entry, LineKey(entry.service, level, "line", mask(entry.text)))

    def _goes_on(self, stream: tuple[str, str, str], entry: Entry) -> bool:
        """Give a line to the trace that its stream is printing; False where it belongs to none any more."""
        trace, at, size = self.open[stream]
        trace.take(entry.text[:4000])
        self.open[stream] = (trace, at, size + entry.size)
        if continues_trace(entry.text) and trace.lines < MOST_LINES:
            return True
        self._close(stream)
        return True

    def _begin(self, stream: tuple[str, str, str], entry: Entry) -> None:
        if len(self.open) >= MOST_OPEN:
            self._close(next(iter(self.open)))
        self.open[stream] = (Trace(), entry.at, entry.size)

    def _close(self, stream: tuple[str, str, str]) -> None:
        trace, at, size = self.open.pop(stream)
        self.count(LineKey(stream[0], "error", "stack", trace.template), at, size)

    def _line(self, entry: Entry, key: LineKey) -> None:
        self.count(key, entry.at, entry.size, entry.times, entry.last)

    def count(self, key: LineKey, at: float, size: int, times: int = 1, last: float = 0.0) -> None:
        """Count a masked line or trace, or so many equal ones of an hour."""
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = LineCount(at)
        line.add(at, size, int((at - self.start) // HOUR), times, last)

    def _request(self, entry: Entry, request: Request) -> None:
        day = min(6, int((entry.at - self.start) // (24 * HOUR)))  # a Sunday on which clocks go back has 25 hours
        _request_count(self.requests, (entry.service, day)).add(request, entry.times)
        route = (entry.service, f"{request.method} {route_of(request.url.partition('?')[0])}")
        if route not in self.routes and len(self.routes) >= MOST_ROUTES:
            route = (entry.service, OTHER_ROUTES)
        _request_count(self.routes, route).add(request, entry.times)

    def _happened(self, what: str, entry: Entry) -> None:
        at = entry.at
        seen = self.platform.setdefault((entry.service, what), [0, at, at])
        seen[0], seen[1], seen[2] = seen[0] + entry.times, min(seen[1], at), max(seen[2], at, entry.last)


def _request_count(counts: dict[Any, RequestCount], key: Any) -> RequestCount:
    found = counts.get(key)
    if found is None:
        found = counts[key] = RequestCount()
    return found


def level_of(severity: int, text: str) -> Level:
    """How bad a line is: by its severity, or, where it bears none, by the first such word near its beginning."""
    if severity >= _ERROR:
        return "error"
    if severity >= _WARNING:
        return "warning"
    if severity == 0 and (found := _LEVEL_WORD.search(text, 0, 60)):
        return "error" if found[1] else "warning"
    return "info"


@lru_cache(maxsize=20_000)
def route_of(address: str) -> str:
    """The path of an address with its variable parts taken out. ``address`` bears no query."""
    path = "/" + address.partition("://")[2].partition("/")[2] if "://" in address else address
    return _VARIABLE_SEGMENT.sub("/{}", hide(path[:500]))[:120]

"""A tally as plain data and back: what a reading is resumed from.

Safety property: what comes back counts on exactly as what was written would have; the same tally gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from tasks.analysis.log_tally import Fold, LineCount, LineKey, RequestCount, Tally
from tasks.analysis.stack_traces import Trace

FORMAT = 1


def to_bytes(tally: Tally, extra: dict[str, Any]) -> bytes:
    """A tally and whatever belongs to it, compressed."""
    plain = {"format": FORMAT, "extra": extra, "tally": _plain(tally)}
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return gzip.compress(text.encode(errors="replace"), compresslevel=3, mtime=0)


def from_bytes(data: bytes, fold: Fold | None = None) -> tuple[Tally, dict[str, Any]] | None:
    """A tally and what belongs to it; None for what another version wrote."""
    plain = json.loads(gzip.decompress(data))
    if plain["format"] != FORMAT:
        return None
    return _tally(plain["tally"], fold), plain["extra"]


def _plain(tally: Tally) -> dict[str, Any]:
    return {
        "start": tally.start,
        "numbers": [tally.read, tally.size, tally.unmatched],
        "lines": [
            [*key, line.count, line.size, line.first, line.last, list(line.hourly.items())]
            for key, line in tally.lines.items()
        ],
        "requests": [[*key, *_counts(count)] for key, count in tally.requests.items()],
        "routes": [[*key, *_counts(count)] for key, count in tally.routes.items()],
        "platform": [[*key, *seen] for key, seen in tally.platform.items()],
        "loggers": [[*key, *seen] for key, seen in tally.loggers.items()],
        "open": [[*key, trace.as_plain(), at, size] for key, (trace, at, size) in tally.open.items()],
    }


def _counts(count: RequestCount) -> list[Any]:
    return [count.requests, count.errors, list(count.sketch.buckets.items())]


def _tally(plain: dict[str, Any], fold: Fold | None) -> Tally:
    tally = Tally(plain["start"], fold)
    tally.read, tally.size, tally.unmatched = plain["numbers"]
    for service, level, kind, text, *figures in plain["lines"]:
        tally.lines[LineKey(service, level, kind, text)] = _line(figures)
    for service, day, requests, errors, buckets in plain["requests"]:
        tally.requests[service, day] = RequestCount(requests, errors, dict(buckets))
    for service, route, requests, errors, buckets in plain["routes"]:
        tally.routes[service, route] = RequestCount(requests, errors, dict(buckets))
    tally.platform = {(service, what): seen for service, what, *seen in plain["platform"]}
    tally.loggers = {(service, log): seen for service, log, *seen in plain["loggers"]}
    tally.open = {(a, b, c): (Trace.from_plain(trace), at, size) for a, b, c, trace, at, size in plain["open"]}
    return tally


def _line(figures: list[Any]) -> LineCount:
    count, size, first, last, hourly = figures
    line = LineCount(first)
    line.count, line.size, line.last, line.hourly = count, size, last, dict(hourly)
    return line

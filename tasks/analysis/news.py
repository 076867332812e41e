"""Whether something is news: the same failure of the same flow is not told every five minutes. No I/O."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta

from tasks.models import Measurement

#: What was told is told again after this time, where it still holds.
AGAIN_AFTER = timedelta(days=1)
#: What differs between two runs that fail alike: times, durations, ids of runs and processes.
_PASSING = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?|\b\d\d:\d\d(:\d\d)?\b|\b\d+(\.\d+)? (ms|s|seconds|minutes)\b"
    r"|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12,}\b|\b(pid|process|port) \d+\b"
)


def fingerprint(title: str, body: str) -> str:
    """What a notification says, without what differs each time."""
    text = _PASSING.sub("#", f"{title}\n{body}")
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:32]


def is_news(said: str, last: Measurement | None, now: datetime) -> bool:
    """Whether to tell it, after what was told last: something else, nothing since all was well, or a day ago."""
    if last is None or not last.value:
        return True
    return last.labels.get("what") != said or now - last.at >= AGAIN_AFTER

"""Reads stack traces: what was raised, and the frames of the application's own code.

Safety property: of a trace only the exception's type, its masked message, and the frames' files and functions are kept,
never a line of source or a local value. Line numbers are left out: an edit elsewhere in a file is no new error.

A trace comes as one entry (structured logging), or line by line, as Python prints it to stderr.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.analysis.masking import hide, mask

MOST_FRAMES = 12
#: A trace that never ends is none.
MOST_LINES = 400

_PYTHON = re.compile(r'^\s*File "([^"]{1,400})", line \d+(?:, in (\S{1,200}))?')
_JAVASCRIPT = re.compile(
    r"^\s+at (?:(?:async )?([^\s(]{1,200})(?: \[as [^\]]+\])? \()?((?:file://|node:)?[^()\s]{1,400}?):\d+:\d+\)?"
)
_JAVA = re.compile(r"^\s+at ([\w.$/<>]{1,300})\(([\w.$]+|Native Method|Unknown Source)(?::\d+)?\)")
_GO = re.compile(r"^\s+(/[^\s:]{1,400}\.go):\d+")
_RAISED = re.compile(
    r"^(?:Caused by: |Exception in thread \"[^\"]*\" |Uncaught |panic: )?([A-Za-z_][\w.$]{0,200})(?:: (.*)|)$", re.S
)
_STARTS = ("Traceback (most recent call last)", "Exception in thread ", "goroutine ")
_LIBRARIES = (
    "site-packages/", "dist-packages/", "lib/python", "<frozen ", "<string>", "node_modules/", "node:", "internal/",
    "/usr/local/go/", "/go/pkg/mod/", "java.", "javax.", "jdk.", "sun.", "kotlin.", "scala.", "org.springframework.",
    "org.apache.", "io.netty.", "com.google.",
)  # fmt: skip
_ROOTS = re.compile(
    r"^(?:file://)?(?:/(?:app|workspace|srv|src|usr/src/app|home/[^/]+|opt/[^/]+|layers/[^/]+/[^/]+))?/+"
)


@dataclass(frozen=True)
class Frame:
    """One line of a trace: file and function."""

    file: str
    function: str

    @property
    def in_app(self) -> bool:
        return not any(sign in f"{self.file}|" or self.function.startswith(sign) for sign in _LIBRARIES)

    def __str__(self) -> str:
        return f"{_ROOTS.sub('', self.file)}:{self.function}" if self.function else _ROOTS.sub("", self.file)


@dataclass
class Trace:
    """A trace as far as it was read: frames, and what was raised last.

    ``told``: the line below the frames was read. What follows it is the rest of its message: a value, not a type.
    """

    raised: str = ""
    frames: list[Frame] = field(default_factory=list)
    lines: int = 0
    innermost_first: bool = False
    told: bool = False

    def take(self, line: str) -> None:
        """Read one more line."""
        self.lines += 1
        frame = self._frame(line)
        if frame is not None:
            self.frames, self.told = [*self.frames, frame][-200:], False
        elif self.told or not line or line[0].isspace() or line.startswith(_STARTS):
            return
        elif found := _RAISED.match(line):
            self.raised, self.told = _type_and_message(found), bool(self.frames)

    def _frame(self, line: str) -> Frame | None:
        if found := _PYTHON.match(line):
            return Frame(found[1], found[2] or "")
        if "at " not in line and ".go:" not in line:
            return None
        self.innermost_first = True
        if found := _JAVA.match(line):
            return Frame("", found[1])
        if found := _JAVASCRIPT.match(line):
            return Frame(found[2], found[1] or "")
        found = _GO.match(line)
        return Frame(found[1], "") if found else None

    @property
    def template(self) -> str:
        """What the trace is known by: the exception's type, then the application's frames, innermost first."""
        frames = self.frames if self.innermost_first else self.frames[::-1]
        own = [frame for frame in frames if frame.in_app] or frames[:3]
        where = " < ".join(dict.fromkeys(str(frame) for frame in own[:MOST_FRAMES]))
        kind, _, message = self.raised.partition(": ")
        return hide(f"{kind or 'stack trace'} at {where}" + (f": {message}" if message and not own else ""))

    def as_plain(self) -> list[object]:
        return [self.raised, [[frame.file, frame.function] for frame in self.frames], self.lines, self.innermost_first]

    @classmethod
    def from_plain(cls, plain: list[object]) -> Trace:
        raised, frames, lines, innermost_first = plain
        return cls(raised, [Frame(*frame) for frame in frames], lines, innermost_first)  # type: ignore[arg-type, attr-defined]


def holds_trace(text: str) -> bool:
    """Whether a text of several lines has a trace in it."""
    return "\n" in text and ("Traceback (most recent call last)" in text or "\n    at " in text or "\n\tat " in text
                             or ("goroutine " in text and ".go:" in text))  # fmt: skip


def begins_trace(text: str) -> bool:
    """Whether a line is the first of a trace that is printed line by line."""
    return text.startswith("Traceback (most recent call last)")


def continues_trace(text: str) -> bool:
    """Whether a line belongs to a trace that has begun, and is not its last."""
    return not text or text[0].isspace() or text.startswith(
        ("Traceback (most recent", "During handling of the above", "The above exception was")
    )  # fmt: skip


def read_trace(text: str) -> Trace:
    """Read a trace that stands in one text."""
    trace = Trace()
    for line in text.split("\n")[:MOST_LINES]:
        trace.take(line.rstrip("\r"))
    return trace


def _type_and_message(found: re.Match[str]) -> str:
    message = mask(found[2][:2000]) if found[2] else ""
    return f"{found[1]}: {message}" if message else found[1]

"""The words of the filter language: quoted text with its escapes, operators, marks and bare words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from google.api_core import exceptions

_TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*)"
    r'|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<operator>!=|!~|=~|>=|<=|=|>|<|:)"
    r"|(?P<mark>[(),])"
    r"""|(?P<word>[^\s"'()=<>!~:,]+)""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "?": "?"}


@dataclass(frozen=True)
class Token:
    """One word, and where it stands: ``kind`` is string, operator, mark or word."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Cut a filter into words, without spaces and comments. Raises InvalidArgument."""
    words, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            where = f"at position {at}: {text[at:at + 20]!r}"
            raise exceptions.InvalidArgument(f"Unparseable filter: syntax error {where}.")
        if found.lastgroup != "space":
            words.append(Token(str(found.lastgroup), found.group(), at, found.end()))
        at = found.end()
    return words


def unescaped(text: str) -> str:
    """What quoted text means."""
    return _ESCAPE.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    """One escape. What is none, as in the regular expression ``"\\d"``, stays as it is written."""
    code = str(found.group(1))
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, found.group())

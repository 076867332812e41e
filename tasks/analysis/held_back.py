"""The held-back list: what is not updated for a while, and why. A file in the repository, so that people can edit it.

Safety property: an entry always expires, and one that cannot be read stops the flow: an update that somebody held back
is never tried again because of a typing error.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from datetime import date, timedelta

from pydantic import ValidationError

from tasks.dependency_models import Held
from tasks.errors import BadInput

_HEAD = """\
# Updates that are held back, each until its day. caretaker adds entries; take one out and the update is tried again.
"""
_FIELDS = ("manifest", "package", "stays", "refused", "reason", "since", "until", "together")


def read_held(text: str, file: str) -> tuple[Held, ...]:
    """The entries of a list, those that have expired included. Raises BadInput."""
    try:
        return tuple(Held.model_validate(entry) for entry in tomllib.loads(text).get("held", []))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"reading the held-back list {file} failed: not TOML: {error}; correct it there") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"reading the held-back list {file} failed: {where}: {first['msg']}; correct it there") from None


def write_held(entries: Iterable[Held]) -> str:
    """The list as a file, sorted; empty text for an empty list."""
    tables = [_table(entry) for entry in sorted(entries, key=lambda e: (e.manifest, e.package))]
    return "\n".join([_HEAD, *tables]) if tables else ""


def _table(entry: Held) -> str:
    lines = ["[[held]]"]
    for name in _FIELDS:
        value = getattr(entry, name)
        if value != ():
            lines.append(f"{name} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    # A JSON string is a TOML basic string, but for the one control character that JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def standing(entries: Iterable[Held], today: date) -> tuple[Held, ...]:
    """The entries that have not expired; of two for one package, the one that lasts longer."""
    newest: dict[tuple[str, str], Held] = {}
    for entry in sorted(entries, key=lambda e: e.until):
        if entry.until > today:
            newest[(entry.manifest, entry.package)] = entry
    return tuple(newest[key] for key in sorted(newest))


def entry_until(today: date, days: int) -> date:
    """The day on which a new entry expires."""
    return today + timedelta(days=days)

"""Reads an estate file and says in one line all that is wrong with it.

Safety property: every key is either understood or named as unknown; nothing in the file is ever left aside.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tasks.errors import BadInput
from tasks.estate.nearest import did_you_mean

MOST_ERRORS = 5


def parse(path: Path) -> dict[str, Any]:
    """Read the file. Raises BadInput where there is none, or it is no TOML, or it has a key that only the model has."""
    document = _toml(path)
    if "file" in document:
        raise BadInput(f"unknown key file in {path.name}; take it out")
    return _overridden(document)


def one_line(path: Path, errors: Sequence[str]) -> str:
    """Join errors into one line that names the file."""
    found = list(dict.fromkeys(errors))
    if len(found) == 1:
        what, separator, hint = found[0].partition("; ")
        return f"{what} in {path.name}{separator}{hint}"
    shown = "; ".join(error.replace("; ", ", ") for error in found[:MOST_ERRORS])
    more = f"; and {len(found) - MOST_ERRORS} more" if len(found) > MOST_ERRORS else ""
    return f"{len(found)} errors in {path.name}: {shown}{more}"


def in_words(error: ValidationError, document: dict[str, Any], model: type[BaseModel]) -> list[str]:
    """Say each error of a validation for a person, with its dotted key. ``model`` is what the document should be."""
    return [_words(detail, document, model) for detail in error.errors()]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"reading the estate {path} failed: no such file; write one, or name another") from None
    except IsADirectoryError:
        raise BadInput(f"reading the estate {path} failed: it is a folder; name the file in it") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"reading the estate {path} failed: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"reading the estate {path} failed: not TOML: {error}; correct it there") from None


def _overridden(document: dict[str, Any]) -> dict[str, Any]:
    """A service's own canary table stands on the estate's, key by key."""
    shared, services = document.get("canary"), document.get("services")
    if not isinstance(shared, dict) or not isinstance(services, list):
        return document
    return {**document, "services": [_with_canary(item, shared) for item in services]}


def _with_canary(service: Any, shared: dict[str, Any]) -> Any:
    own = service.get("canary") if isinstance(service, dict) else None
    return {**service, "canary": {**shared, **own}} if isinstance(own, dict) else service


def _words(detail: ErrorDetails, document: dict[str, Any], model: type[BaseModel]) -> str:
    location = [part for part in detail["loc"] if part != "[key]"]
    key = _key(location, document)
    match detail["type"]:
        case "extra_forbidden":
            known = _known_keys(location[:-1], model)
            return f"unknown key {key}; {did_you_mean(str(location[-1]), known)}"
        case "missing":
            return f"{key} is missing"
        case "value_error":
            return f"{key}: {detail['ctx']['error']}"
        case "string_pattern_mismatch" | "string_too_long":
            return f"{key}{_shown(location, detail['input'])} is not allowed: {_rule(detail)}"
        case _:
            return f"{key}{_shown(location, detail['input'])} is not allowed: {_lowered(detail['msg'])}"


def _rule(detail: ErrorDetails) -> str:
    if detail["type"] == "string_too_long":
        return f"at most {detail['ctx']['max_length']} characters, else Cloud Run refuses it with a traffic tag"
    return f"it must look like {detail['ctx']['pattern']}"


def _shown(location: Sequence[int | str], value: Any) -> str:
    """The value, unless its key speaks of a secret: somebody may have written the secret where its name belongs."""
    if any("secret" in str(part) for part in location):
        return ""
    text = repr(value) if isinstance(value, str) else str(value)
    return f" = {text}" if len(text) <= 60 else f" = {text[:57]}..."


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


def _key(location: Sequence[int | str], document: dict[str, Any]) -> str:
    """The dotted path of a value, with the ``name`` of a table in place of its position in a list."""
    parts: list[str] = []
    at: Any = document
    for part in location:
        at = _step(at, part)
        named = at.get("name") if isinstance(part, int) and isinstance(at, dict) else None
        parts.append(str(named if isinstance(named, str) else part))
    return ".".join(parts)


def _step(at: Any, part: int | str) -> Any:
    try:
        return at[part]
    except (KeyError, IndexError, TypeError):
        return None


def _known_keys(location: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    """The keys of the table at a place of the file."""
    for part in location:
        if isinstance(part, str):
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            model = _model_in(fields[part])
    return [field.alias or name for name, field in model.model_fields.items() if name != "file"]


def _model_in(annotation: Any) -> type[BaseModel]:
    """The one model in an annotation such as ``tuple[Service, ...]`` or ``Sync | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(found for inner in get_args(annotation) if (found := _model_in_or_none(inner)))


def _model_in_or_none(annotation: Any) -> type[BaseModel] | None:
    try:
        return _model_in(annotation)
    except StopIteration:
        return None

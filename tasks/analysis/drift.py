"""In which fields a running revision differs from what the estate says.

Safety property: what is shown is names, sizes and plain settings. A secret is a name and a version; a password inside a
URL is blotted out; a plain value that became a secret, or was one, is not shown at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from tasks.models import Drift, RevisionSpec, SecretPin

_HIDDEN = "(not shown)"
#: Up to the last ``@``: a password that nobody encoded may hold ``/`` and ``@`` itself.
_PASSWORD = re.compile(r"(://[^/\s:@]*):\S*@")
#: Somebody may have set a secret as a plain value, by hand.
_SOUNDS_SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|PRIVATE|(^|_)(API_?)?KEY($|_)|PWD", re.IGNORECASE)
_FIELDS = (
    "image", "command", "args", "port", "cpu", "memory", "min_instances", "max_instances", "concurrency",
    "timeout_seconds", "sql_instances", "service_account",
)
#: The units in which sizes are written, in bytes: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_BYTES = {"Mi": 2**20, "Gi": 2**30, "M": 10**6, "G": 10**9, "Ki": 2**10, "k": 10**3, "": 1}


def drift(running: RevisionSpec, wanted: RevisionSpec) -> tuple[Drift, ...]:
    """Compare field by field.

    Labels and annotations are not compared: they name the release. The image is compared only where one is wanted, and
    the service account likewise: Cloud Run fills in the project's own.
    """
    return (*_fields(running, wanted), *_env(running, wanted), *_secrets(running.secret_env, wanted.secret_env))


def _fields(running: RevisionSpec, wanted: RevisionSpec) -> Iterator[Drift]:
    for field in _FIELDS:
        if field in ("image", "service_account") and not getattr(wanted, field):
            continue
        if _same(field, getattr(running, field), getattr(wanted, field)):
            continue
        yield Drift(field=field, running=_text(getattr(running, field)), wanted=_text(getattr(wanted, field)))


def _same(field: str, one: object, other: object) -> bool:
    if field == "cpu":
        return _cpus(str(one)) == _cpus(str(other))
    if field == "memory":
        return _bytes(str(one)) == _bytes(str(other))
    if field == "sql_instances":
        return set(_words(one)) == set(_words(other))
    return one == other


def _cpus(text: str) -> Decimal | str:
    """``1000m`` and ``1`` are the same number of CPUs."""
    if re.fullmatch(r"[0-9]+m", text):
        return Decimal(text[:-1]) / 1000
    return Decimal(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else text


def _bytes(text: str) -> int | str:
    """``1Gi`` and ``1024Mi`` are the same size."""
    found = re.fullmatch(r"([0-9]+)(Ki|Mi|Gi|k|M|G|)", text)
    return int(found.group(1)) * _BYTES[found.group(2)] if found else text


def _env(running: RevisionSpec, wanted: RevisionSpec) -> Iterator[Drift]:
    secret = running.secret_env.keys() | wanted.secret_env.keys()
    for name in sorted(running.env.keys() | wanted.env.keys()):
        one, other = running.env.get(name), wanted.env.get(name)
        if one != other:
            hidden = name in secret or _SOUNDS_SECRET.search(name) is not None
            yield Drift(field=f"env.{name}", running=_shown(one, hidden), wanted=_shown(other, hidden))


def _shown(value: str | None, hidden: bool) -> str:
    if value is None:
        return ""
    return _HIDDEN if hidden else _PASSWORD.sub(r"\1:***@", value)


def _secrets(running: Mapping[str, SecretPin], wanted: Mapping[str, SecretPin]) -> Iterator[Drift]:
    for name in sorted(running.keys() | wanted.keys()):
        one, other = running.get(name), wanted.get(name)
        if one != other:
            yield Drift(field=f"secret_env.{name}", running=_pin(one), wanted=_pin(other))


def _pin(pin: SecretPin | None) -> str:
    return f"{pin.secret}@{pin.version}" if pin else ""


def _text(value: object) -> str:
    return " ".join(_words(value)) if isinstance(value, tuple) else str(value)


def _words(value: object) -> tuple[str, ...]:
    return tuple(str(word) for word in value) if isinstance(value, tuple) else (str(value),)

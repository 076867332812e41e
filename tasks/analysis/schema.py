"""Whether the code that serves now will work on the schema to come, and which data will be gone.

Safety property: conservative. Where the serving source is not known, every change that could break it counts as one
that does; what cannot be read (a DO block, a revision without SQL) is said to be unjudged, never safe.

The rule behind it: the schema moves before the traffic does, so in every release the old code runs on the new schema
for a while. https://martinfowler.com/bliki/ParallelChange.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from tasks.analysis.sql_effects import Effect, EffectReader
from tasks.models import Finding, Frozen, MigrationRevision

BOTH_SCHEMAS = "release code that works on both schemas first, then the migration, then the code that needs it"
#: Code that asks the database for its tables names none of them.
_REFLECTS = frozenset({"reflect", "automap_base", "autoload_with", "inspectdb"})


class SchemaVerdict(Frozen):
    """What migrations do: ``breaks`` to the serving code, ``loses`` of the data, ``unjudged`` what could not be told.

    ``verdict`` is about the serving code alone.
    """

    verdict: Literal["safe", "breaking", "unknown"]
    breaks: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def judge(
    revision: MigrationRevision, words: frozenset[str] | None, applied: Sequence[MigrationRevision] = ()
) -> SchemaVerdict:
    """Judge the upgrade of one revision; see ``judge_upgrades``."""
    return judge_upgrades((revision,), words, applied)


def judge_upgrades(
    revisions: Sequence[MigrationRevision], words: frozenset[str] | None, applied: Sequence[MigrationRevision] = ()
) -> SchemaVerdict:
    """Judge upgrades, in the order in which they will run.

    ``words`` are the identifiers in the serving source without its migrations; None where it is not known. A change
    breaks code that names what it takes away, or that writes to the table on which it puts a condition. ``applied`` are
    the revisions before them: they tell which index is unique and what a constraint is.
    """
    return _verdict([(item, item.upgrade, item.why_no_upgrade) for item in revisions], words, applied)


def judge_downgrades(
    revisions: Sequence[MigrationRevision], words: frozenset[str] | None, applied: Sequence[MigrationRevision] = ()
) -> SchemaVerdict:
    """Judge downgrades, in the order in which they will run; the rest as in ``judge_upgrades``."""
    return _verdict([(item, item.downgrade, item.why_no_downgrade) for item in revisions], words, applied)


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The identifiers in source texts."""
    return frozenset(word for text in texts for word in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text))


def _verdict(
    scripts: Sequence[tuple[MigrationRevision, str, str]], words: frozenset[str] | None,
    applied: Sequence[MigrationRevision],
) -> SchemaVerdict:
    reader, known = EffectReader(), _spellings(words)
    for revision in applied:
        reader.learn(revision.upgrade)
    findings: list[Finding] = []
    breaks: list[str] = []
    loses: list[str] = []
    unjudged: list[str] = []
    for revision, sql, why_not in scripts:
        effects = (Effect("its SQL", unknown=why_not),) if why_not else reader.read(sql)
        for effect in effects:
            named = _named(effect, known)
            breaks += [f"{revision.revision}: {effect.subject}: {effect.breaks}{_because(known)}"] if named else []
            loses += [effect.loses] if effect.loses else []
            unjudged += [f"{revision.revision}: {effect.subject}: {effect.unknown}"] if effect.unknown else []
            findings += _findings(revision.revision, effect, named, known)
    return SchemaVerdict(
        verdict="breaking" if breaks else "unknown" if unjudged else "safe",
        breaks=_once(breaks), loses=_once(loses), unjudged=_once(unjudged), findings=tuple(dict.fromkeys(findings)),
    )


def _named(effect: Effect, known: frozenset[str] | None) -> bool:
    """Whether the serving code uses what the effect takes away, as far as can be known."""
    return bool(effect.breaks) and (known is None or any(name.casefold() in known for name in effect.mentions))


def _because(known: frozenset[str] | None) -> str:
    return " (the serving source is not known)" if known is None else ""


def _findings(revision: str, effect: Effect, named: bool, known: frozenset[str] | None) -> list[Finding]:
    subject = f"migration {revision}"
    found = []
    if named:
        found.append(Finding(
            severity="warning", subject=subject, way_out=BOTH_SCHEMAS,
            what=f"breaks the serving code: {effect.subject}: {effect.breaks}{_because(known)}",
        ))
    elif effect.breaks:
        found.append(Finding(
            severity="info", subject=subject,
            what=f"{effect.subject}: {effect.breaks}; the serving source names none of {', '.join(effect.mentions)}",
        ))
    if effect.loses:
        found.append(Finding(severity="warning", subject=subject, what=f"loses {effect.loses}", way_out="keep a copy"))
    if effect.unknown:
        found.append(Finding(
            severity="warning", subject=subject, what=f"cannot be judged: {effect.subject}: {effect.unknown}",
            way_out="read it yourself",
        ))
    return found


def _spellings(words: frozenset[str] | None) -> frozenset[str] | None:
    """The words in lower case, and the table names that an ORM makes of class names.

    None where the source is not known, or asks the database for its tables instead of naming them.
    """
    if words is None or words & _REFLECTS:
        return None
    snakes = {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).casefold() for word in words}
    plurals = {f"{word}s" for word in snakes}
    return frozenset({word.casefold() for word in words} | snakes | plurals)


def _once(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))

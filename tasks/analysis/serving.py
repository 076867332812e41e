"""Which revision of a service served at a moment, as far as the ledger and Cloud Run can tell.

Safety property: a revision is named only where what is known agrees on it. Where it could fail without the backup being
to blame, ``doubt`` says why: a failure of it is then no verdict.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tasks.analysis import release as naming
from tasks.estate import Probe
from tasks.models import Change, Frozen, RevisionState

MOVES = frozenset({"deploy", "roll_back"})


class Served(Frozen):
    """The revision that served at a moment; ``why`` says how that is known, or, without one, why it is not."""

    revision: RevisionState | None
    why: str
    doubt: str = ""


class _Named(Frozen):
    name: str
    why: str
    doubt: str = ""


class Scene(Frozen):
    """What is known of a service: its revisions, the one that serves now, and its changes, the newest first.

    ``moment`` is the one that is asked for, ``stands_at`` the schema's revision as it was then (empty: not known),
    ``probes`` the digest of the probes that will be asked.
    """

    service: str
    moment: datetime
    stands_at: str
    serving: str
    revisions: tuple[RevisionState, ...]
    changes: tuple[Change, ...]
    probes: str

    @property
    def known(self) -> Mapping[str, RevisionState]:
        """The revisions that are kept, by name."""
        return {revision.name: revision for revision in self.revisions}

    @property
    def before(self) -> Change | None:
        """The last change of the traffic up to the moment."""
        return next((change for change in self._moves if change.at <= self.moment), None)

    @property
    def after(self) -> Change | None:
        """The first change of the traffic after the moment: it may have been under way already."""
        return next((change for change in reversed(self._moves) if change.at > self.moment), None)

    @property
    def _moves(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind in MOVES)

    def made_by(self, name: str, at: datetime) -> bool:
        """Whether a revision is kept and was there at a moment."""
        return name in self.known and self.known[name].created <= at


def served_at(scene: Scene) -> Served:
    """The revision that served at the moment of a scene."""
    named = _by_schema(scene, _by_ledger(scene))
    if not named.name:
        return Served(revision=None, why=named.why)
    revision = scene.known.get(named.name)
    if revision is None:
        return Served(revision=None, why=f"revision {named.name} is not kept any more; {named.why}")
    doubts = (named.doubt, _under_way(scene, revision), _of_schema(scene, revision), _of_probes(scene, revision))
    doubt = "; ".join(filter(None, doubts))
    return Served(revision=revision, why=f"revision {named.name}, {named.why}", doubt=doubt)


def digest_of(probes: Iterable[Probe]) -> str:
    """A digest of how probes are declared: the same questions with the same answers expected."""
    declared = sorted((probe.model_dump(mode="json") for probe in probes), key=lambda probe: str(probe["name"]))
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:16]


def _by_ledger(scene: Scene) -> _Named:
    """What the change before the moment left, held against what the one after it (or now) found."""
    before, after = scene.before, scene.after
    then = str(after.before.get("revision") or "") if after else scene.serving
    if before is None:
        return _unrecorded(scene, then)
    first = str(before.after.get("revision") or before.before.get("revision") or "")
    when = f"served at {_at(after.at)}" if after else "serves now"
    until = f"{then or 'nothing'} {when}, and since when the ledger does not know"
    if first == then or not scene.made_by(then, scene.moment):
        gone = first != then and then not in scene.known
        why = f"which served since {_at(before.at)} by the ledger" if first else f"{scene.service} was not released yet"
        return _Named(name=first, why=why, doubt=until if gone else "")
    if scene.made_by(then, before.at):
        return _Named(name="", why=until)
    return _Named(name=then, why="which was released before the moment by somebody else", doubt=until)


def _unrecorded(scene: Scene, then: str) -> _Named:
    """The ledger knows of no change before the moment: ``then`` is what served when it begins, or serves now."""
    when = f"served at {_at(scene.after.at)}, when the ledger begins" if scene.after else "serves now"
    if not then:
        return _Named(name="", why=f"{scene.service} was not released yet at {_at(scene.moment)}")
    if then not in scene.known:
        return _Named(name=then, why=f"it {when}")
    if not scene.made_by(then, scene.moment):
        return _Named(name="", why=f"{then} {when}, but was made after the moment; what served before is not known")
    later = any(scene.known[then].created < item.created <= scene.moment for item in scene.revisions)
    doubt = f"{then} {when}, and since when is not known" if later else ""
    return _Named(name=then, why=f"which {when} and was made before the moment", doubt=doubt)


def _by_schema(scene: Scene, named: _Named) -> _Named:
    """Where the schema is not that revision's own, the one that came next or the one before it may fit.

    A release that was under way has migrated before it was written down; a backup may hold what was there at its
    beginning.
    """
    revision, before, after = scene.known.get(named.name), scene.before, scene.after
    if revision is None or _fits(scene, revision):
        return named
    coming = str(after.after.get("revision") or "") if after else scene.serving
    leaving = str(before.before.get("revision") or "") if before and before.kind == "deploy" else ""
    for name in (coming, leaving):
        if name != named.name and name in scene.known and _fits(scene, scene.known[name]):
            return _Named(name=name, why=f"whose schema {scene.stands_at} is: a release was under way")
    return named


def _fits(scene: Scene, revision: RevisionState) -> bool:
    needs = revision.spec.annotations.get(naming.SCHEMA, "")
    return not needs or not scene.stands_at or needs == scene.stands_at


def _under_way(scene: Scene, revision: RevisionState) -> str:
    """A release is written down at its end: what it made may have had traffic, and written, for a while."""
    coming = str(scene.after.after.get("revision") or "") if scene.after else ""
    if coming in ("", revision.name) or not scene.made_by(coming, scene.moment):
        return ""
    return f"{coming} was being released"


def _of_schema(scene: Scene, revision: RevisionState) -> str:
    """A roll-back proves its target on the schema that it finds; any other revision is proved on its own alone."""
    before = scene.before
    if _fits(scene, revision):
        return ""
    if before and before.kind == "roll_back" and before.before.get("schema") == scene.stands_at:
        return ""
    return f"it was released on schema {revision.spec.annotations[naming.SCHEMA]}, the copy stands at {scene.stands_at}"


def _of_probes(scene: Scene, revision: RevisionState) -> str:
    """Probes are declared for the code of today: an older revision need not know what they ask for."""
    verified = [change for change in scene.changes if change.kind in MOVES and change.after.get("verified")]
    put = [change for change in verified if change.after.get("revision") == revision.name]
    declared = {str(change.inputs["probes"]) for change in put if "probes" in change.inputs}
    if scene.probes in declared or (not declared and revision.name == scene.serving):
        return ""
    otherwise = "its probes were declared otherwise when it was released"
    return otherwise if declared else "the ledger does not know by which probes it was released"


def _at(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def ours(changes: Sequence[Change], project: str) -> tuple[Change, ...]:
    """The changes of one project; estates share a ledger."""
    return tuple(change for change in changes if change.inputs.get("project", project) == project)

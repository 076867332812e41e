"""Writes what an update does: the text of the pull request, which is the report too, and the commit's message.

Safety property: names, versions and messages of packages are other people's text: they are quoted, so that they are
neither markup nor mentions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from tasks.dependency_models import Held, Installed, Judgement, ProjectStatus, Update, Vulnerability
from tasks.models import Finding, Frozen

#: A project that has had no release for so long is named as possibly abandoned.
SILENT_DAYS = 3 * 365
#: GitHub answers 422 to a pull request's text of more than 65,536 characters.
MOST_LETTERS = 65_000
_STATUS_WORDS = {
    "archived": "archived: no further release is to be expected",
    "deprecated": "deprecated by its authors",
    "quarantined": "in quarantine: the index holds it for unsafe",
}
_OURS = "_Made by caretaker. A commit of yours on this branch is never overwritten: the next run then leaves it alone._"
_VULNERABILITIES = ("", "| | package | version | known for |", "| --- | --- | --- | --- |")


class UpdateReport(Frozen):
    """Everything that the text tells."""

    base: str
    updates: tuple[Update, ...]
    closed: tuple[Vulnerability, ...] = ()
    left: tuple[Vulnerability, ...] = ()
    held: tuple[Held, ...] = ()
    judgement: Judgement
    findings: tuple[Finding, ...] = ()
    sandbox: str = ""
    before: Installed | None = None
    after: Installed | None = None
    statuses: Mapping[str, ProjectStatus | None] = {}
    deprecated: Mapping[str, str] = {}
    cooldown_days: int
    now: datetime


def title(report: UpdateReport) -> str:
    """One line for the pull request and the commit."""
    if not report.updates:
        return f"Hold back {len(report.held)} {'update' if len(report.held) == 1 else 'updates'}"
    count = sum(1 for update in report.updates if update.old and update.new)
    mended = len({one.id for one in report.closed})
    more = f", {mended} known {'vulnerability' if mended == 1 else 'vulnerabilities'} closed" if mended else ""
    return f"Update {count} {'dependency' if count == 1 else 'dependencies'}{more}"


def message(report: UpdateReport) -> str:
    """The commit's message."""
    lines = [f"- {u.key}: {u.old or 'new'} → {u.new or 'gone'}" for u in report.updates]
    held = [f"- held back: {one.package} {one.refused}, until {one.until}" for one in report.held]
    return "\n".join([title(report), "", *lines, *held])


def body(report: UpdateReport) -> str:
    """The text of the pull request."""
    parts = [
        _tests(report), _findings(report.findings), _closed(report), _left(report), _held(report), _updates(report),
        _licences(report), _old(report), _size(report), _OURS,
    ]  # fmt: skip
    return _fitting("\n\n".join(part for part in parts if part) + "\n")


def _fitting(text: str) -> str:
    """A text as long as GitHub takes it, cut between lines; else the branch would be pushed and nobody told."""
    if len(text) <= MOST_LETTERS:
        return text
    cut = text[: MOST_LETTERS - 200]
    said = "**The text is too long for a pull request; the commit names every update.**"
    return f"{cut[: cut.rindex(chr(10))]}\n\n{said}\n"


def _tests(report: UpdateReport) -> str:
    judged, line = report.judgement, ""
    if judged.verdict == "passed":
        found = f"; what breaks them was found after {judged.runs_until_found} test runs" if judged.blamed else ""
        line = f"✓ The repository's own tests passed with these updates ({_runs(judged)}{found})."
    elif judged.verdict == "flaky":
        line = (
            f"⚠ The tests are **flaky**: one and the same set of updates both failed and passed "
            f"({_runs(judged)}). No update is blamed."
            f"{' They passed with these updates in the end.' if judged.ship else ''}"
        )
    elif judged.verdict == "base_fails":
        line = "✗ The tests fail **without any update**: nothing can be said of the updates."
    else:
        line = f"✗ No update passed the tests ({_runs(judged)})."
    named = [f"- flaky or failing: {_code(name)}" for name in judged.flaky]
    shut = "They ran without secrets, and without a network but loopback." if judged.runs else ""
    if report.sandbox:
        shut = f"⚠ The tests were **not shut off** from this machine: {_text(report.sandbox)}."
    return "\n".join(["## Tests", "", line, *named, *(["", shut] if shut else [])])


def _runs(judged: Judgement) -> str:
    return f"{judged.runs} test {'run' if judged.runs == 1 else 'runs'}"


def _updates(report: UpdateReport) -> str:
    if not report.updates:
        return "## Updates\n\nNone."
    links = report.after.links if report.after else {}
    lines = ["## Updates", "", "| package | from | to | | why it is there |", "| --- | --- | --- | --- | --- |"]
    for u in report.updates:
        notes = ["**major**" if u.major else "", "direct" if u.direct else "transitive"]
        notes += [f"**yanked**: {_text(u.yanked)}"] if u.yanked else []
        why = " → ".join(_code(name) for name in u.why) if len(u.why) > 1 else "asked for" if u.why else ""
        cells = (_linked(_code(u.key), links.get(u.package, "")), _code(u.old) or "new", _code(u.new) or "gone",
                 ", ".join(filter(None, notes)), why)  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    young = f"Releases younger than {report.cooldown_days} days were not taken, but for what mends a vulnerability."
    return "\n".join([*lines, "", young])


def _closed(report: UpdateReport) -> str:
    if not report.closed:
        return ""
    return "\n".join(["## Vulnerabilities closed", *_VULNERABILITIES, *_rows(report.closed, report.now)])


def _left(report: UpdateReport) -> str:
    if not report.left:
        return ""
    return "\n".join(["## Vulnerabilities that stay open", *_VULNERABILITIES, *_rows(report.left, report.now)])


def _rows(vulnerabilities: Iterable[Vulnerability], now: datetime) -> Iterator[str]:
    for one in vulnerabilities:
        age = f"{(now - one.published).days} days" if one.published else "unknown"
        name = _linked(_text(", ".join((one.id, *one.aliases))), one.link)
        fix = f"mended in {_code(one.fixed)}" if one.fixed else "no fix is known"
        yield f"| {name}: {_text(one.summary)} | {_code(one.package)} | {_code(one.version)}, {fix} | {age} |"


def _held(report: UpdateReport) -> str:
    if not report.held:
        return ""
    lines = ["## Held back", ""]
    for one in report.held:
        together = f" together with {', '.join(_code(name) for name in one.together)}" if one.together else ""
        lines.append(
            f"- {_code(one.package)} stays at {_code(one.stays)}, not {_code(one.refused)}{together}, "
            f"until {one.until}: {_text(one.reason)}"
        )
    return "\n".join(lines)


def licence_changes(before: Installed, after: Installed) -> tuple[tuple[str, str, str], ...]:
    """The packages whose licence differs: name, before, after. A package that is new is told with ``new``."""
    names = sorted(after.licences)
    return tuple(
        (name, before.licences.get(name, "new"), after.licences[name])
        for name in names
        if before.licences.get(name) != after.licences[name]
    )


def _licences(report: UpdateReport) -> str:
    if report.before is None or report.after is None:
        return ""
    changed = licence_changes(report.before, report.after)
    lines = [f"- {_code(name)}: {_text(old)} → {_text(new)}" for name, old, new in changed]
    return "\n".join(["## Licences that changed", "", *(lines or ["None."])])


def _old(report: UpdateReport) -> str:
    """Packages that were yanked, or whose project does not go on."""
    lines = [f"- {_code(name)}: {_text(said)}" for name, said in sorted(report.deprecated.items())]
    for name, status in sorted(report.statuses.items()):
        if status and (words := _words(status, report.now)):
            lines.append(f"- {_code(name)}: {words}")
    unknown = sum(1 for status in report.statuses.values() if status is None)
    lines += [f"- of {unknown} packages the index did not say"] if unknown else []
    return "\n".join(["## Abandoned or withdrawn", "", *lines]) if lines else ""


def _words(status: ProjectStatus, now: datetime) -> str:
    if status.status in _STATUS_WORDS:
        return _STATUS_WORDS[status.status]
    silent = (now - status.newest).days if status.newest else 0
    return f"no release for {silent} days" if silent > SILENT_DAYS else ""


def _size(report: UpdateReport) -> str:
    if report.before is None or report.after is None:
        return ""
    old, new = report.before.size_bytes / 1e6, report.after.size_bytes / 1e6
    return f"## Size\n\nInstalled, {old:.2f} MB before and {new:.2f} MB after ({new - old:+.2f} MB)."


def _findings(findings: Sequence[Finding]) -> str:
    lines = [f"- **{_text(f.subject)}**: {_text(f.what)} {_text(f'→ {f.way_out}')}" for f in findings]
    return "\n".join(["## Findings", "", *lines]) if lines else ""


def _linked(words: str, link: str) -> str:
    """Words with a link, as far as it is a plain URL: other people chose it."""
    return f"[{words}]({link})" if re.fullmatch(r"https?://[^\s()<>|\[\]]+", link) else words


def _code(text: str) -> str:
    """A name or version as code; empty stays empty."""
    clean = " ".join(re.sub(r"[`|<>]", "", text).split())
    return f"`{clean}`" if clean else ""


def _text(text: str) -> str:
    """Other people's text: no markup, no mention, inside a table's cell."""
    return re.sub(r"([\\`*_\[\]<>|#@])", r"\\\1", " ".join(text.split()))[:400].replace("\\@", "@\u200b")


def all_named(updates: Iterable[Update]) -> str:
    """The updates in one line, for the ledger and the notification."""
    return ", ".join(f"{u.key} {u.old or 'new'} → {u.new or 'gone'}" for u in updates)

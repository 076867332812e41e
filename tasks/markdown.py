"""What the reports have in common when they write Markdown for Prefect's UI."""

from __future__ import annotations

from tasks.models import Finding

#: Signs that every font has: a report is read on whatever is at hand.
SEVERITIES = {"info": "ℹ", "warning": "⚠", "error": "✗"}


def cell(text: str) -> str:
    """Text that stays inside a table's cell."""
    return " ".join(text.replace("|", "\\|").split())


def finding_line(finding: Finding) -> str:
    """A finding as one line of a list, for a table's long cells are cut off on a phone."""
    way_out = f" → {cell(finding.way_out)}" if finding.way_out else ""
    return f"- {SEVERITIES[finding.severity]} **{cell(finding.subject)}**: {cell(finding.what)}{way_out}"

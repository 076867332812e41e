"""The report of a week in words: its headline, its summary, as Markdown and as a notification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.analysis.cost_findings import covered, label_name, money, signed, sku_name
from tasks.analysis.costs import movers
from tasks.analysis.review_findings import chosen, others
from tasks.analysis.units import counted
from tasks.cost_models import CostReview
from tasks.log_models import Judgement
from tasks.markdown import SEVERITIES
from tasks.review_models import Review, ReviewVerdict, Told, shortened

MOST_FINDINGS, MOST_TOLD, MOST_MOVERS = 25, 5, 2
#: Where all of them stand, beside the page.
FINDINGS = "findings.json"
_COUNTED: tuple[Judgement, ...] = ("new", "regressed", "escalating", "vanished")


def headline(review: Review) -> str:
    """The week in one line."""
    open_ = [one for one in review.told if not one.muted]
    errors, warnings = (sum(one.severity == kind for one in open_) for kind in ("error", "warning"))
    if not errors and not warnings:
        return "all is well"
    return ", ".join(counted(count, word) for count, word in ((errors, "error"), (warnings, "warning")) if count)


def summary(review: Review) -> tuple[str, ...]:
    """A few lines that a tired person reads first."""
    costs = review.costs
    said = (_patterns(review), _requests(review), costs_line(costs), movers_line(costs), _coverage(review))
    return tuple(filter(None, said))


def _patterns(review: Review) -> str:
    if not review.logs.coverage.read:
        return "No log entry was found."
    if all(one.judgement == "first" for one in review.logs.judged):
        return f"The first review: {len(review.logs.judged):,} patterns of lines are known from now on."
    counts = Counter(one.judgement for one in review.logs.judged)
    errors = Counter(one.judgement for one in review.logs.judged if one.pattern.level == "error")
    found = [f"{counts[kind]} {kind} ({errors[kind]} of errors)" for kind in _COUNTED if counts[kind]]
    return f"Patterns of lines: {', '.join(found) or 'nothing new or worse'}; {counts['steady']} steady."


def _requests(review: Review) -> str:
    requests = sum(one.requests for one in review.logs.services)
    errors = sum(one.errors for one in review.logs.services)
    return f"{requests:,} requests, {errors / requests:.2%} of them failed." if requests else ""


def costs_line(costs: CostReview) -> str:
    """The costs in one line."""
    if costs.state == "off":
        return ""
    if costs.this is None or costs.freshness is None:
        return f"Costs: not judged, {costs.why or costs.state}."
    change = f" ({signed(costs.this.net - costs.before.net, costs.currency)})" if costs.before else ""
    end = f"; {money(costs.forecast.expected, costs.currency)} at month's end" if costs.forecast else ""
    partly = "" if costs.state == "judged" else f"; {costs.why}"
    return f"Costs: {money(costs.this.net, costs.currency)}{change}, {covered(costs.freshness.judged)}{end}{partly}."


def movers_line(costs: CostReview) -> str:
    """What moved the costs, in one line; empty where nothing moved."""
    moved = movers(costs.skus, MOST_MOVERS)
    told = [f"{sku_name(one)} {signed(one.change, costs.currency)}" for one in moved]
    told += [f"{label_name(one)} {signed(one.change, costs.currency)}" for one in movers(costs.labels, 1)]
    return f"Costs moved most: {'; '.join(told)}." if told else ""


def _coverage(review: Review) -> str:
    seen = review.logs.coverage
    whole = f" of {seen.written:,}" if seen.written is not None else ""
    return f"{seen.read:,}{whole} log entries were read{'' if seen.complete else ', not to the end of the week'}."


def markdown(review: Review, first: str, lines: Sequence[str], link: str) -> str:
    """The report for Prefect's UI: what needs a look, and where the page is."""
    told = [one for one in review.told if not one.muted]
    muted = len(review.told) - len(told)
    parts = [f"# Week {review.week.name} of {review.estate}: {first}", "\n".join(f"- {_text(line)}" for line in lines)]
    parts += [f"[The whole report]({link})"] if link else []
    if told:
        shown = chosen(told, MOST_FINDINGS)
        more = [f"- … and {others(told, shown)}, in {FINDINGS} beside the report"] if len(told) > len(shown) else []
        parts += ["## What needs a look", "\n".join([*map(_line, shown), *more])]
    parts += [f"{counted(muted, 'finding')} muted."] if muted else []
    return "\n\n".join(parts) + "\n"


def _line(one: Told) -> str:
    finding = one.finding
    way_out = f" → {_text(finding.way_out)}" if finding.way_out else ""
    return f"- {SEVERITIES[one.severity]} **{_text(finding.subject)}**: {_text(finding.what)}{way_out}"


def notification(verdict: ReviewVerdict) -> str:
    """The short text: the summary, the worst findings, the link."""
    told = [one for one in verdict.findings if not one.muted and one.severity != "info"]
    shown = told[:MOST_TOLD]  # of the worst severity each kind once, then the second of each
    worst = [f"{SEVERITIES[one.severity]} {one.subject}: {shortened(one.finding.what, 140)}" for one in shown]
    more = [f"… and {others(told, shown)}"] if len(told) > MOST_TOLD else []
    return "\n".join(filter(None, [*verdict.summary, *worst, *more, verdict.link]))


def _text(text: str) -> str:
    """Text that Markdown shows as it is, on one line: a log line must not become a heading, a link or markup."""
    flat = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        flat = flat.replace(sign, f"\\{sign}")
    return flat

"""The pull request's text: complete, and safe against what other people wrote into it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from tasks.analysis.update_text import MOST_LETTERS, UpdateReport, body, licence_changes, message, title
from tasks.dependency_models import Held, Installed, Judgement, ProjectStatus, Update, Vulnerability
from tasks.models import Finding

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def update(package: str, old: str = "1.0", new: str = "2.0", **fields: object) -> Update:
    plain = {"manifest": "api", "kind": "uv", "direct": True, "major": True, "why": (package,)}
    return Update.model_validate({**plain, "package": package, "old": old, "new": new, **fields})


def report(**fields: object) -> UpdateReport:
    plain = {"base": "main", "updates": (update("web"),), "judgement": Judgement(verdict="passed", runs=1),
             "cooldown_days": 7, "now": NOW}  # fmt: skip
    return UpdateReport.model_validate({**plain, **fields})


def test_the_text_tells_everything_that_is_known() -> None:
    hole = Vulnerability(
        id="GHSA-1", manifest="api", package="web", version="1.0", fixed="1.1", link="https://a.example/1",
        published=NOW - timedelta(days=12), summary="lets everyone in", aliases=("CVE-2026-1",),
    )  # fmt: skip
    held = Held(
        manifest="api", package="zoo", stays="1", refused="2", reason="the tests fail with it",
        since=date(2026, 11, 25), until=date(2026, 12, 25), together=("api:web",),
    )  # fmt: skip
    text = body(
        report(
            updates=(update("web", yanked="broke"), update("inner", direct=False, major=False, why=("web", "inner"))),
            closed=(hole,), held=(held,), sandbox="no user namespaces",
            before=Installed(size_bytes=1_000_000, licences={"web": "MIT"}),
            after=Installed(size_bytes=3_500_000, licences={"web": "BUSL-1.1"}, links={"web": "https://web.example/changes"}),
            statuses={"web": ProjectStatus(package="web", status="archived"), "old": None,
                      "silent": ProjectStatus(package="silent", newest=NOW - timedelta(days=2000))},
            findings=(Finding(severity="error", subject="advisories", what="did not answer"),),
        )
    )  # fmt: skip
    for said in (
        "| [`api:web`](https://web.example/changes) | `1.0` | `2.0` |",
        "| **major**, direct, **yanked**: broke | asked for |",
        "| `api:inner` | `1.0` | `2.0` | transitive | `web` → `inner` |",
        "| [GHSA-1, CVE-2026-1](https://a.example/1): lets everyone in | `web` | `1.0`, mended in `1.1` | 12 days |",
        "`zoo` stays at `1`, not `2` together with `api:web`, until 2026-12-25",
        "- `web`: MIT → BUSL-1.1", "1.00 MB before and 3.50 MB after (+2.50 MB)", "- `web`: archived",
        "- `silent`: no release for 2000 days", "of 1 packages the index did not say",
        "were **not shut off** from this machine: no user namespaces", "**advisories**: did not answer",
    ):  # fmt: skip
        assert said in text


def test_other_peoples_text_is_neither_markup_nor_a_mention() -> None:
    hole = Vulnerability(
        id="X", manifest=".", package="a`b|c", version="1", summary="@team look <img src=x> [here](http://evil) | x",
        link="javascript:alert(1)",
    )  # fmt: skip
    text = body(report(closed=(hole,)))
    assert "javascript:" not in text
    assert "<img" not in text.replace("\\<img", "")
    assert "@team" not in text
    assert "`abc`" in text


def test_a_title_counts_updates_and_vulnerabilities_and_the_message_lists_them() -> None:
    assert title(report()) == "Update 1 dependency"
    assert message(report()).splitlines()[2] == "- api:web: 1.0 → 2.0"


def test_a_new_package_counts_as_a_changed_licence() -> None:
    before = Installed(size_bytes=0, licences={"a": "MIT"})
    after = Installed(size_bytes=0, licences={"a": "MIT", "b": "X"})
    assert licence_changes(before, after) == (("b", "new", "X"),)


def test_a_text_that_is_longer_than_a_forge_takes_is_cut_between_lines_and_says_so() -> None:
    text = body(report(updates=tuple(update(f"package-{number}") for number in range(2000))))
    assert 60_000 < len(text) <= MOST_LETTERS
    assert text.splitlines()[-3].endswith("|")
    assert "the commit names every update" in text

"""Which revision is stable, and the traffic lists of a release."""

from __future__ import annotations

import pytest

from tasks.analysis import traffic
from tasks.analysis.release import Mark
from tasks.errors import Refused
from tasks.models import RevisionSpec, ServiceState, Traffic

MARK = Mark(stable="api-1", candidate="api-2", release="r", run="run")


def line(revision: str, percent: int = 0, tag: str = "") -> Traffic:
    return Traffic(revision=revision, percent=percent, tag=tag, uri=f"https://{tag}---api" if tag else "")


def service(*lines: Traffic, latest_ready: str = "api-9", reconciling: bool = False) -> ServiceState:
    return ServiceState(
        name="api", uri="https://api", etag="1", ready=True, latest_ready=latest_ready, reconciling=reconciling,
        traffic=lines, traffic_statuses=lines, template=RevisionSpec(image="i"),
    )


@pytest.mark.parametrize(
    ("lines", "stable"),
    [
        ([line("api-1", 100)], "api-1"),
        ([line("api-2", tag="candidate"), line("api-1", 100)], "api-1"),
        ([line("api-1", 100), line("api-2", tag="a"), line("", tag="b")], "api-1"),
        ([line("api-1", 100, tag="stable")], "api-1"),
        ([line("", 100)], "api-9"),
    ],
)
def test_the_stable_revision_is_the_only_one_with_all_traffic(lines: list[Traffic], stable: str) -> None:
    assert traffic.stable_revision(service(*lines)) == stable


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        ([line("api-1", 90), line("api-2", 10)], "its traffic is api-1 90 %, api-2 10 %"),
        ([line("api-1", 50), line("", 50)], "its traffic is api-1 50 %, LATEST 50 %"),
        ([line("api-1", 50), line("api-1", 50)], "api-1 50 %, api-1 50 %"),
        ([line("api-2", tag="candidate")], "no revision of it has traffic"),
        ([], "no revision of it has traffic"),
    ],
)
def test_any_other_traffic_is_refused_with_the_way_out(lines: list[Traffic], seen: str) -> None:
    with pytest.raises(Refused) as caught:
        traffic.stable_revision(service(*lines))
    assert seen in str(caught.value)
    assert "gcloud run services update-traffic api --to-revisions=api-9=100" in str(caught.value)


def test_latest_is_not_believed_while_it_is_changing_or_was_never_ready() -> None:
    with pytest.raises(Refused, match="still being put in place"):
        traffic.stable_revision(service(line("", 100), reconciling=True))
    with pytest.raises(Refused, match="no revision of it ever became ready"):
        traffic.stable_revision(service(line("", 100), latest_ready=""))


@pytest.mark.parametrize(
    "lines",
    [
        [line("api-1", 90), line("api-2", 10, "candidate")],
        [line("api-1", 100), line("api-2", 0, "candidate")],
        [line("api-2", 100)],
    ],
)
def test_a_split_of_our_own_is_known_by_its_mark(lines: list[Traffic]) -> None:
    assert traffic.stable_of_mark(service(*lines), MARK) == "api-1"


@pytest.mark.parametrize(
    "lines",
    [
        [line("api-1", 90), line("api-3", 10)],
        [line("api-1", 50)],
        [line("", 100)],
    ],
)
def test_a_split_that_somebody_else_changed_is_not_ours_any_more(lines: list[Traffic]) -> None:
    with pytest.raises(Refused, match="its mark names api-1 and api-2, but"):
        traffic.stable_of_mark(service(*lines), MARK)


def test_the_lists_of_a_release_always_sum_to_all_traffic() -> None:
    lists = [traffic.only("a"), traffic.with_candidate("a", "b", "new", "old")]
    lists += [traffic.split("a", "b", percent, "new", "old") for percent in (0, 1, 50, 99, 100)]
    lists += [traffic.split("a", "b", percent) for percent in (0, 100)]
    for lines in lists:
        assert sum(item.percent for item in lines) == 100
        assert all(item.percent or item.tag for item in lines)


def test_a_candidate_is_reachable_by_its_tag_alone() -> None:
    assert traffic.with_candidate("a", "b", "new", "old") == (
        Traffic(revision="a", percent=100, tag="old"), Traffic(revision="b", tag="new"),
    )


def test_other_peoples_tags_are_kept_where_asked_and_ours_win() -> None:
    found = service(line("api-1", 100), line("api-0", tag="preview"), line("api-5", tag="candidate"))
    keep = traffic.foreign_tags(found, ["candidate", "stable"])
    assert keep == (Traffic(revision="api-0", tag="preview"),)
    assert traffic.only("api-2", keep=keep) == (Traffic(revision="api-2", percent=100), *keep)
    clash = traffic.with_candidate("a", "b", "preview", keep=keep)
    assert [(item.revision, item.tag) for item in clash] == [("a", ""), ("b", "preview")]


@pytest.mark.parametrize(
    ("wanted", "statuses", "agreed"),
    [
        ([line("a", 100)], [line("a", 100)], True),
        ([line("a", 90), line("b", 10, "new")], [line("b", 10, "new"), line("a", 90)], True),
        ([line("a", 100, "old")], [line("a", 100), line("a", 0, "old")], True),
        ([line("a", 100)], [line("a", 100), line("b", 0)], True),
        ([line("a", 100)], [line("a", 99), line("b", 1)], False),
        ([line("a", 100)], [line("a", 100), line("b", 0, "new")], False),
        ([line("a", 100), line("b", 0, "new")], [line("a", 100), line("c", 0, "new")], False),
        ([line("", 100)], [line("api-9", 100)], True),
        ([line("", 100)], [line("api-8", 100)], False),
        ([line("a", 100)], [], False),
    ],
)
def test_the_platform_agrees_when_shares_and_tags_are_the_same(
    wanted: list[Traffic], statuses: list[Traffic], agreed: bool
) -> None:
    assert traffic.agrees(wanted, statuses, "api-9") is agreed

"""The rotation flow: two valid credentials at all times, and the old one goes only when nothing uses it."""

from __future__ import annotations

import psycopg
import pytest

from tests.flows import rotations
from tests.flows.rotations import LOGIN, PASSWORD, URL, rotate
from tests.flows.steps import calls, newest
from tests.sample import Sample
from tests.stack import Stack

pytestmark = pytest.mark.stack


def test_a_login_is_replaced_by_the_other_users_and_the_old_one_is_locked(sample: Sample, stack: Stack) -> None:
    before, revision, old = rotations.user(sample), sample.serving(), rotations.url(sample)
    after = newest(stack, sample)
    planned = rotate(sample, secrets=LOGIN, dry_run=True)
    assert planned.verdict == "planned", planned
    assert calls(stack, sample, after) == []
    assert f"revision `{revision}` | api | {URL} | 1 | serves 100 %" in planned.report
    result = rotate(sample, secrets=LOGIN)
    assert result.verdict == "rotated", result
    assert sample.serving() != revision
    assert rotations.user(sample) != before
    assert rotations.enabled(sample, URL) == [rotations.pinned(sample)]
    assert len(rotations.enabled(sample, PASSWORD)) == 1
    assert sample.get().status_code == 200
    assert rotations.can_log_in(sample) == {before: False, rotations.user(sample): True}
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        rotations.connect(sample, old)

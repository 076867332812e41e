"""The rotation of a token between two services: whoever presents it is accepted for the whole time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from tasks.analysis import rotation
from tasks.errors import Refused
from tasks.models import SecretPin
from tasks.rotation_making import make_versions
from tasks.rotation_models import RotationMark
from tests.flows import rotations
from tests.flows.conftest import deployed
from tests.flows.rotations import TOKEN, rotate
from tests.flows.senders import Sender
from tests.flows.steps import calls, deploy, newest
from tests.load import Load
from tests.sample import Sample, run
from tests.stack import Stack

pytestmark = pytest.mark.stack
SENDS = """async def clear(request: Request) -> Response:
    token = {"Authorization": f"Bearer {os.environ['SYNC_TOKEN']}"}
    answer = await request.app.state.api.post("/internal/cache/clear", headers=token)
    return Response(status_code=answer.status_code)


web = Starlette("""


@pytest.fixture(scope="module")
def rotating(new_sample: Callable[..., Sample]) -> Sample:
    """A released estate whose frontend presents the token to its API."""
    made = new_sample("token", services=("api", "frontend"))
    sends = made.variant("frontend").replace("app/main.py", "web = Starlette(", SENDS)
    sends.replace("app/main.py", "    routes=[", '    routes=[\n        Route("/clear", clear),')
    return deployed(_with_sender(made))


@pytest.fixture
def sample(rotating: Sample) -> Sample:
    return _with_sender(rotating)


def _with_sender(sample: Sample, overlap_days: int = 0) -> Sample:
    """Write the estate with a frontend that is given the token."""
    sample.write_estate()
    text = sample.estate_file.read_text()
    for before, after in (
        ('env = { API_URL', f'secrets = {{ SYNC_TOKEN = "{TOKEN}" }}\nenv = {{ API_URL'),
        (f'name = "{TOKEN}"\n', f'name = "{TOKEN}"\noverlap_days = {overlap_days}\n'),
    ):
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    sample.estate_file.write_text(text)
    return sample


def _follow_the_alias(sample: Sample) -> None:
    """Let the frontend read the alias, as a person does who deploys it by hand."""
    spec = sample.site.run.get_revision("frontend", sample.serving("frontend")).spec
    follows = spec.model_copy(update={"secret_env": {"SYNC_TOKEN": SecretPin(secret=TOKEN, version="current")}})
    rotations.by_hand(sample, "frontend", {"frontend-follows": 100}, follows)


def test_a_service_that_sends_by_the_alias_is_never_refused_by_the_one_that_accepts_both(sample: Sample) -> None:
    assert rotate(sample, secrets=(TOKEN,), prepare=True).verdict == "prepared"
    _follow_the_alias(sample)
    version = rotations.pinned(sample, TOKEN)
    with Load(sample.state("frontend").uri, 20, "/clear") as load:
        result = rotate(sample, secrets=(TOKEN,))
        time.sleep(0.5)
    assert result.verdict == "rotated", result
    assert load.failures == []
    assert len({answer.revision for answer in load.answers}) == 2, "the sender changed under the requests"
    assert rotations.pinned(sample, TOKEN) == rotations.pinned(sample, TOKEN, "frontend") == version + 1
    assert rotations.enabled(sample, TOKEN) == [version + 1]
    assert rotate(sample, only_due=True, secrets=(TOKEN,)).verdict == "unchanged"


def test_senders_with_the_old_and_the_new_token_are_accepted_for_the_whole_overlap_and_the_old_one_not_after_it(
    sample: Sample, stack: Stack
) -> None:
    _with_sender(sample, overlap_days=1)
    version, uri = rotations.pinned(sample, TOKEN), sample.state().uri
    old, follow = rotations.token(sample, version), lambda: rotations.token(sample, "current")
    with Sender(uri, lambda: old) as before, Sender(uri, follow) as follower:
        _a_receiver_that_is_split_keeps_the_alias(sample, stack)
        result = rotate(sample, secrets=(TOKEN,))
        new = rotations.token(sample, "latest")
        while follower.accepted(new) < 20 and not follower.refused:
            time.sleep(0.1)
    assert result.verdict == "waiting", result
    assert f"old and new version of {TOKEN} are both valid" in result.why
    assert (before.refused, follower.refused) == ({}, {})
    assert before.accepted(old) > 20
    assert rotations.enabled(sample, TOKEN) == [version, version + 1]
    assert deploy(sample).verdict == "unchanged"
    with Sender(uri, follow) as follower:
        method = "SecretManagerService.DestroySecretVersion"
        policy = stack.control.plant(method, "error", project=sample.project, nth=2, code="PERMISSION_DENIED")
        assert rotate(sample, secrets=(TOKEN,), emergency=True).verdict == "failed"
        assert stack.control.fault(policy)["met"]
        result = rotate(sample, secrets=(TOKEN,), only_finish=True)  # an emergency is gone on with as such
    assert result.verdict == "rotated", result
    assert follower.refused == {}
    assert follower.accepted(new) > 20
    assert rotations.enabled(sample, TOKEN) == [rotations.pinned(sample, TOKEN)] == [version + 2]
    for leaked in (old, new):  # what was made before the leak was known may have leaked too
        with Sender(uri, lambda borne=leaked: borne) as before:
            while sum(before.answers.values()) < 5:
                time.sleep(0.1)
        assert (before.accepted(), set(before.refused)) == (0, {401})


def _a_receiver_that_is_split_keeps_the_alias(sample: Sample, stack: Stack) -> None:
    """Begin a rotation that fails where the alias moves, split the traffic by hand, and go on."""
    version, before = rotations.pinned(sample, TOKEN), sample.serving()
    fault = stack.control.plant(
        "SecretManagerService.UpdateSecret", "error", project=sample.project, nth=2, code="PERMISSION_DENIED"
    )
    assert rotate(sample, secrets=(TOKEN,)).verdict == "failed"
    assert stack.control.fault(fault)["met"]
    after = sample.serving()
    assert (rotations.pinned(sample, TOKEN), after != before) == (version + 1, True)
    rotations.by_hand(sample, "api", {before: 50, after: 50})
    try:
        written = newest(stack, sample)
        assert rotate(sample, secrets=(TOKEN,), dry_run=True).verdict == "planned"
        assert calls(stack, sample, written) == []
        held = rotate(sample, secrets=(TOKEN,))
        assert held.verdict == "held", held
        assert f"{before} serves 50 % with version {version}" in held.why
        assert f"--to-revisions={after}=100" in held.why
        assert rotations.token(sample, "current") == rotations.token(sample, version)
        assert rotations.enabled(sample, TOKEN) == [version, version + 1]
    finally:
        rotations.by_hand(sample, "api", {after: 100})


def test_what_serves_is_never_burnt_with_what_a_failed_attempt_made(sample: Sample) -> None:
    """As where somebody gives a share of the traffic to a canary between the look and the new attempt."""
    unit = rotation.units(sample.site.estate, (TOKEN,))[0]
    serving = rotations.pinned(sample, TOKEN)
    mark = RotationMark(run="killed", began=datetime.now(UTC), after={TOKEN: serving - 1})
    orphan = sample.site.secrets.add_version(TOKEN, SecretStr("never-given-out")).version
    with pytest.raises(Refused, match=f"version {serving} is in use meanwhile; run the flow again"):
        run(make_versions(sample.site, unit, mark, serving, end=False))
    assert orphan > serving
    assert rotations.enabled(sample, TOKEN) == [serving]

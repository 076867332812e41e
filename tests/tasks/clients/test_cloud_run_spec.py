"""A RevisionSpec survives the way to Google's messages and back, and spoils nothing on the way."""

from __future__ import annotations

from google.cloud import run_v2

from tasks.clients import cloud_run_spec as mapping
from tasks.models import RevisionSpec, SecretPin, Traffic

FULL = RevisionSpec(
    image="h/p/r/api@sha256:1", command=("launcher",), args=("web", "--x"), port=9000, cpu="2", memory="1Gi",
    min_instances=1, max_instances=7, concurrency=33, timeout_seconds=61, env={"B": "2", "A": ""},
    secret_env={"DATABASE_URL": SecretPin(secret="db", version="3")}, sql_instances=("p:r:a", "p:r:b"),
    service_account="ops@p.iam.gserviceaccount.com", labels={"a": "b"}, annotations={"c": "d"},
)  # fmt: skip
BARE = RevisionSpec(image="i")


def test_every_field_of_a_spec_comes_back_from_a_template():
    for spec in (FULL, BARE):
        template = run_v2.RevisionTemplate()
        mapping.write_template(template, spec)
        wire = run_v2.RevisionTemplate.serialize(template)
        assert mapping.read_spec(run_v2.RevisionTemplate.deserialize(wire)) == spec


def test_the_example_sets_every_field_so_that_a_forgotten_one_is_found():
    defaults = RevisionSpec(image="")
    assert [name for name in RevisionSpec.model_fields if getattr(FULL, name) == getattr(defaults, name)] == []


def test_a_job_keeps_what_a_job_has():
    execution = run_v2.ExecutionTemplate()
    mapping.write_task(execution, FULL)
    found = mapping.read_task(execution)
    service_only = {"port", "min_instances", "max_instances", "concurrency", "timeout_seconds"}
    assert found.model_dump(exclude=service_only) == FULL.model_dump(exclude=service_only)
    assert not execution.template.containers[0].ports


def test_writing_a_second_spec_leaves_nothing_of_the_first():
    template = run_v2.RevisionTemplate()
    mapping.write_template(template, FULL)
    mapping.write_template(template, BARE)
    assert mapping.read_spec(template) == BARE
    assert not template.volumes
    assert not template.containers[0].volume_mounts


def test_what_a_spec_does_not_know_stays():
    template = run_v2.RevisionTemplate(
        session_affinity=True,
        vpc_access={"connector": "c"},
        containers=[{"name": "proxy", "image": "sidecar"},
                    {"name": "app", "image": "old", "ports": [{"name": "h2c", "container_port": 1}],
                     "startup_probe": {"period_seconds": 7},
                     "resources": {"limits": {"nvidia.com/gpu": "1"}, "startup_cpu_boost": True},
                     "volume_mounts": [{"name": "cache", "mount_path": "/cache"}]}],
        volumes=[{"name": "cache", "empty_dir": {}}],
    )  # fmt: skip
    mapping.write_template(template, FULL)
    sidecar, app = template.containers
    assert (sidecar.image, app.image) == ("sidecar", FULL.image)
    assert template.session_affinity
    assert template.vpc_access.connector == "c"
    assert app.startup_probe.period_seconds == 7
    assert app.ports[0].name == "h2c"
    assert app.resources.limits["nvidia.com/gpu"] == "1"
    assert app.resources.startup_cpu_boost
    assert [mount.mount_path for mount in app.volume_mounts] == ["/cache", "/cloudsql"]
    assert [volume.name for volume in template.volumes] == ["cache", "cloudsql"]
    assert mapping.read_spec(template) == FULL


def test_a_secret_named_in_full_is_read_by_its_short_name():
    template = run_v2.RevisionTemplate()
    mapping.write_template(template, FULL)
    reference = template.containers[0].env[-1].value_source.secret_key_ref
    reference.secret = "projects/123/secrets/db"
    assert mapping.read_spec(template).secret_env == FULL.secret_env


def test_traffic_lines_come_back_and_the_latest_has_no_name():
    lines = (Traffic(revision="api-1", percent=90, tag="stable"), Traffic(percent=10, tag="new"))
    targets = mapping.write_traffic(lines, run_v2.TrafficTarget, run_v2.TrafficTargetAllocationType)
    assert targets[1].type_.name == "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    assert mapping.read_traffic(targets) == lines


def test_two_lists_agree_when_shares_and_tags_do():
    wanted = (Traffic(revision="a", percent=100), Traffic(revision="b", percent=0, tag="t"))
    served = (Traffic(revision="b", tag="t", uri="http://t"), Traffic(revision="a", percent=100), Traffic(revision="c"))
    assert mapping.same_traffic(wanted, served)
    assert not mapping.same_traffic(wanted, (Traffic(revision="a", percent=100),))
    assert not mapping.same_traffic(wanted, (*served, Traffic(revision="a", tag="old")))
    assert not mapping.same_traffic(
        wanted, (Traffic(revision="a", percent=90), Traffic(revision="b", percent=10, tag="t"))
    )

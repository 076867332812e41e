"""The estate file: what is understood, and the one line about what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import cloudpickle
import pytest

from tasks.errors import BadInput
from tasks.estate import Canary, Estate, fill_in_urls

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "estate.toml").read_text()


def load(tmp_path: Path, *changes: tuple[str, str], more: str = "") -> Estate:
    """Read the sample estate with the first occurrence of each text replaced."""
    text = TEXT
    for old, new in changes:
        assert old in text, f"the sample estate holds no {old!r}"
        text = text.replace(old, new, 1)
    path = tmp_path / "estate.toml"
    path.write_text(text + more)
    return Estate.load(path)


def complaint(tmp_path: Path, *changes: tuple[str, str], more: str = "") -> str:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, *changes, more=more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_sample_estate_is_understood() -> None:
    estate = Estate.load(ROOT / "estate.toml")
    api = estate.service("api")
    assert estate.source_of(api).is_dir()
    assert estate.source_of(api, Path("/elsewhere")) == Path("/elsewhere/examples/pyplots/api")
    assert estate.database("pyplots").url_secret == "db-connection-string"
    assert estate.google.local_cloud
    assert api.migration is not None
    assert api.migration.upgrade_to("head") == ("alembic", "upgrade", "head")
    assert api.migration.downgrade_to("-1") == ("alembic", "downgrade", "-1")
    assert estate.secret_names() == ("db-connection-string", "sync-token")
    assert [step.percent for step in estate.canary.steps] == [10, 50]


def test_an_estate_can_be_sent_to_another_process() -> None:
    estate = Estate.load(ROOT / "estate.toml")
    assert cloudpickle.loads(cloudpickle.dumps(estate)) == estate


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('cpu = "1"', 'cpuu = "1"'), "unknown key services.api.cpuu in estate.toml; did you mean cpu?"),
        (("[[services.probes]]", "[[services.probess]]"),
         "unknown key services.api.probess in estate.toml; did you mean probes?"),
        (("lock_timeout_seconds", "lock_timeout"),
         "unknown key services.api.migration.lock_timeout in estate.toml; did you mean lock_timeout_seconds?"),
        (("retained", "retaind"),
         "unknown key databases.pyplots.backup.retaind in estate.toml; did you mean retained?"),
        (("[notify]", "[notifies]"), "unknown key notifies in estate.toml; did you mean notify?"),
        (('name = "pyplots"', 'file = "x"\nname = "pyplots"'), "unknown key file in estate.toml; take it out"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path, change: tuple[str, str], line: str) -> None:
    assert complaint(tmp_path, change) == line


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("port = 8080", 'port = "many"'), ["services.api.port = 'many'", "integer"]),
        (("port = 8080", "port = 70000"), ["services.api.port = 70000", "65535"]),
        (('name = "api"', 'name = "API"'), ["services.API.name = 'API'"]),
        (('name = "api"', f'name = "{"a" * 38}"'), ["at most 37 characters"]),
        (('memory = "512Mi"', 'memory = "lots"'), ["services.api.memory = 'lots'"]),
        (('cpu = "1"', 'cpu = "3"'), ["services.api.cpu = '3'"]),
        (('cpu = "1"', 'cpu = "500m"'), ["services.api: less than one CPU needs concurrency = 1"]),
        (("max_instances = 4", "max_instances = 0"), ["services.api.max_instances = 0"]),
        (("min_instances = 1", "min_instances = 9"), ["'min_instances' must not be above 'max_instances'"]),
        (('build = "buildpack"', 'build = "buildpac"'), ["services.api.build = 'buildpac'", "'buildpack' or"]),
        (('source = "examples', 'source = "/examples'), ["services.api.source", "relative path"]),
        (("touches_database = true", "touches_database = false"), ["services.api: at least one probe"]),
        (('body = \'"specs":[\'\n', ""), ["services.api.probes.specs", "must name an expected part"]),
        (('name = "specs"', 'name = "health"'), ["two probes are called health"]),
        (('database = "pyplots"\nrevision', 'revision'), ["'migration' needs 'database'"]),
        (("{ ENVIRONMENT", '{ PORT = "1", ENVIRONMENT'), ["PORT is set by Cloud Run itself"]),
        (("{ ENVIRONMENT", '{ SYNC_TOKEN = "1", ENVIRONMENT'), ["SYNC_TOKEN stands in 'env' and in 'secrets'"]),
        (('"upgrade", "{revision}"', '"upgrade", "head"'), ["one word of the command must hold {revision}"]),
        (('path = "/internal/sync-from-repo"\n', ""), ["kind 'http' needs 'path'"]),
        (("percent = 10", "percent = 60"), ["must rise from step to step"]),
        (("percent = 50", "percent = 100"), ["canary.steps.1.percent = 100"]),
        (("max_seconds = 30", "max_seconds = 7190"), ["must sum to at most 7200"]),
        (("unacceptable_error_rate = 0.05", "unacceptable_error_rate = 0.001"), ["must be below 'unacceptable_"]),
        (('project = "pyplots-local"', 'project = "P"'), ["google.project = 'P'"]),
        (('region = "europe-west4"\n', ""), ["google.region is missing"]),
        (('name = "pyplots"', "name = "), ["not TOML", "line 3"]),
    ],
)
def test_what_is_not_allowed_is_named_with_its_key(tmp_path: Path, change: tuple[str, str], parts: list[str]) -> None:
    line = complaint(tmp_path, change)
    assert "estate.toml" in line
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (('database = "pyplots"\nrevision', 'database = "pyplot"\nrevision'),
         "services.api.database names the unknown database pyplot (did you mean pyplots?)"),
        (('SYNC_TOKEN = "sync-token"', 'SYNC_TOKEN = "syn-token@3"'),
         "services.api.secrets.SYNC_TOKEN names the unknown secret syn-token (did you mean sync-token?)"),
        (('token_secret = "sync-token"', 'token_secret = "token"'),
         "services.api.sync.token_secret names the unknown secret token"),
        (('url_secret = "db-conn', 'url_secret = "db-com'), "databases.pyplots.url_secret names the unknown secret"),
        (('url_secret = ""', 'url_secret = "chat"'), "notify.url_secret names the unknown secret chat"),
        (('after = ["api"]', 'after = ["apl"]'),
         "services.frontend.after names the unknown service apl (did you mean api?)"),
        (("{services.api.url}", "{services.apl.url}"), "services.frontend.env.API_URL names the unknown service apl"),
        (("{services.api.url}", "{services.api.uri}"), "holds the unknown place holder {services.api.uri}"),
        (("{services.api.url}", "{service.api.url}"), "holds the unknown place holder {service.api.url}"),
        (('ENVIRONMENT = "local"', 'HOME_PAGE = "{services.frontend.url}"'), "services need each other in a circle"),
        (('name = "frontend"', 'name = "api"'), "services.api stands 2 times"),
        (('DATABASE_URL = "db-connection-string"', 'DATABASE_URL = "db-connection-string@previous"'),
         "db-connection-string is a database's login, whose users take turns"),
        (('SYNC_TOKEN = "sync-token"', 'SYNC_TOKEN = "sync-token@previous"'), "no variable is sync-token alone"),
        (('name = "db-password"', 'name = "sync-token"'), "secrets.sync-token stands 2 times"),
        (("overlap_days = 14", "overlap_days = 0"), "secrets.github-webhook.overlap_days is 0, and sender github"),
    ],
)
def test_a_name_that_leads_nowhere_is_named(tmp_path: Path, change: tuple[str, str], part: str) -> None:
    assert part in complaint(tmp_path, change)


def test_all_errors_are_given_at_once_up_to_five(tmp_path: Path) -> None:
    line = complaint(
        tmp_path, ('cpu = "1"', 'cpuu = "1"'), ("port = 8080", "port = -1"), ("percent = 10", "percent = 0"),
        ("retained", "retaind"), ("region", "regionn"), ("max_age_days = 35", "max_age_days = 0"),
    )
    assert line.startswith("7 errors in estate.toml: ")
    assert line.endswith("; and 2 more")
    assert line.count("; ") == 5


def test_a_secret_written_where_its_name_belongs_is_not_repeated(tmp_path: Path) -> None:
    line = complaint(tmp_path, ('DATABASE_URL = "db-connection-string"', 'DATABASE_URL = "postgresql://me:hunter2@db"'))
    assert "services.api.secrets.DATABASE_URL is not allowed" in line
    assert "hunter2" not in line


def test_other_braces_in_a_variable_are_left_alone(tmp_path: Path) -> None:
    estate = load(tmp_path, ('ENVIRONMENT = "local"', "LEVELS = '{\"app\": 1}'"))
    assert estate.service("api").env["LEVELS"] == '{"app": 1}'


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"reading the estate .*nowhere\.toml failed: no such file"):
        Estate.load(tmp_path / "nowhere.toml")
    with pytest.raises(BadInput, match="it is a folder"):
        Estate.load(tmp_path)


def test_a_service_that_does_not_exist_is_named_with_the_nearest() -> None:
    estate = Estate.load(ROOT / "estate.toml")
    with pytest.raises(BadInput, match=r"^unknown service apii in estate.toml; did you mean api\?$"):
        estate.service("apii")
    with pytest.raises(BadInput, match=r"^unknown service zzz in estate.toml; known: api, frontend$"):
        estate.waves(["zzz"])


def test_services_go_in_waves_behind_those_that_they_need(tmp_path: Path) -> None:
    estate = load(tmp_path, ('after = ["api"]\n', ""))
    assert [[item.name for item in wave] for wave in estate.waves()] == [["api"], ["frontend"]]
    assert [[item.name for item in wave] for wave in estate.waves(["frontend"])] == [["frontend"]]
    apart = load(tmp_path, ('after = ["api"]\n', ""), ("{services.api.url}", "http://api"))
    assert [[item.name for item in wave] for wave in apart.waves()] == [["api", "frontend"]]


def test_a_service_url_is_filled_in_where_it_is_known() -> None:
    env = {"API_URL": "{services.api.url}/v1", "OTHER": "{services.other.url}"}
    assert fill_in_urls(env, {"api": "https://api"}) == {"API_URL": "https://api/v1", "OTHER": "{services.other.url}"}


def test_a_services_own_canary_stands_on_that_of_the_estate(tmp_path: Path) -> None:
    estate = load(
        tmp_path, ("alpha = 0.01", "alpha = 0.02"),
        ("[services.sync]", "[services.canary]\nunacceptable_error_rate = 0.2\n\n[services.sync]"),
    )
    own = estate.canary_of(estate.service("api"))
    assert (own.alpha, own.unacceptable_error_rate) == (0.02, 0.2)
    assert estate.canary_of(estate.service("frontend")) == estate.canary
    assert estate.canary.unacceptable_error_rate == 0.05


def test_a_freeze_needs_an_offset_and_is_kept_in_utc(tmp_path: Path) -> None:
    freeze = '\n[[freeze]]\nfrom = 2026-12-24T01:00:00{0}\nuntil = 2026-12-27T00:00:00{0}\nreason = "Christmas"\n'
    found = load(tmp_path, more=freeze.format("+01:00")).freeze[0]
    assert found.from_ == datetime(2026, 12, 24, tzinfo=UTC)
    assert found.from_.tzinfo is UTC
    assert "freeze.0.from = 2026-12-24 01:00:00 is not allowed" in complaint(tmp_path, more=freeze.format(""))


def test_the_default_canary_is_that_of_the_sample_estate() -> None:
    assert Estate.load(ROOT / "estate.toml").canary == Canary()


def test_the_costs_of_the_sample_estate_are_understood() -> None:
    costs = Estate.load(ROOT / "estate.toml").costs
    assert costs is not None
    assert costs.table.startswith("pyplots-local.billing.gcp_billing_export_v1_")
    assert [unit.name for unit in costs.units] == ["1,000 requests", "GB stored and month"]
    assert costs.zone.key == "America/Los_Angeles"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("budget_per_month", "budget_a_month"), "unknown key costs.budget_a_month in estate.toml"),
        (("pyplots-local.billing.", "billing."), "costs.table = "),
        (("pyplots-local.billing.", "pyplots-local.billing.` WHERE FALSE --"), "costs.table = "),
        (("budget_per_month = 450", 'time_zone = "Mars/Olympus"'), "Mars/Olympus is no time zone"),
        (("budget_per_month = 450", "budget_per_month = -1"), "costs.budget_per_month = -1 is not allowed"),
        (("maximum_bytes_billed = 1_000_000_000", "maximum_bytes_billed = 1000"), "costs.maximum_bytes_billed = 1000"),
    ],
)
def test_costs_that_are_not_understood_are_named(tmp_path: Path, change: tuple[str, str], line: str) -> None:
    assert line in complaint(tmp_path, change)


def test_an_estate_without_costs_is_one(tmp_path: Path) -> None:
    start, end = TEXT.index("# The billing export."), TEXT.index("[notify]")
    assert load(tmp_path, (TEXT[start:end], "")).costs is None

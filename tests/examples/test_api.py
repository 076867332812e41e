"""The sample API as deployed services are: over HTTP, with its database, and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.conftest import API, TOKEN, Database, Serve, Served, eventually, serving
from tests.variants import Variant

BEFORE = "the token before"
COUNT = len(list((API / "specs").glob("*.toml")))


@pytest.fixture(scope="module")
def api(shared: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shipped API on a database at head, synced."""
    with serving(tmp_path_factory.mktemp("api")) as start:
        tokens = {"SYNC_TOKEN": f"{TOKEN}\n", "SYNC_TOKEN_PREVIOUS": BEFORE}
        served = start(API, DATABASE_URL=shared.url, K_REVISION="api-00007-abc", **tokens)
        assert served.post("/internal/sync-from-repo").json() == {"synced": COUNT, "deleted": 0, "errors": []}
        yield served


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The API with a database that is not there, and without a token."""
    folder = tmp_path_factory.mktemp("bare")
    with serving(folder) as start:
        yield start(API, DATABASE_URL=f"postgresql+psycopg://nobody:x@/none?host={folder}", K_REVISION="r1")


def test_health_and_specs_hold_what_the_probes_of_the_estate_look_for(api: Served) -> None:
    assert '"status":"ok"' in api.client.get("/health").text
    assert '"specs":[' in api.client.get("/specs?fresh=1").text


def test_every_answer_names_its_revision(api: Served) -> None:
    for path in ("/", "/health", "/specs", "/specs/absent", "/nowhere"):
        assert api.client.get(path).headers["x-revision"] == "api-00007-abc"


def test_specs_come_from_the_database_with_their_libraries(api: Served) -> None:
    answer = api.client.get("/specs?fresh=1").json()
    assert answer["count"] == len(answer["specs"]) == COUNT >= 12
    scatter = next(spec for spec in answer["specs"] if spec["id"] == "scatter-basic")
    assert scatter["title"] == "Basic scatter plot"
    assert scatter["libraries"] == ["matplotlib", "plotly", "seaborn"]


def test_a_spec_has_its_implementations_best_first(api: Served) -> None:
    spec = api.client.get("/specs/line-timeseries").json()
    assert [found["quality"] for found in spec["implementations"]] == [95, 90, 84]
    for found in spec["implementations"]:
        assert found["code_lines"] == len(found["code"].splitlines())
        assert found["image_url"] == "/plots/line-timeseries.svg"
    assert api.client.get("/specs/absent").status_code == 404


def test_the_cache_answers_until_it_is_cleared_and_fresh_goes_past_it(api: Served, shared: Database) -> None:
    def title(query: str = "") -> str:
        specs = api.client.get(f"/specs{query}").json()["specs"]
        return next(spec["title"] for spec in specs if spec["id"] == "radar-profile")

    assert title() == "Radar chart"
    shared.execute("UPDATE specs SET title = 'Spider chart' WHERE id = 'radar-profile'")
    assert title("?fresh=1") == "Spider chart"
    assert title() == "Radar chart"
    assert api.post("/internal/cache/clear").json() == {"cleared": 1}
    assert title() == "Spider chart"
    api.post("/internal/sync-from-repo")
    assert title("?fresh=1") == "Radar chart"


@pytest.mark.parametrize("path", ["/internal/sync-from-repo", "/internal/cache/clear"])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_internal_endpoints_refuse_who_lacks_the_token(api: Served, path: str, authorization: str) -> None:
    answer = api.client.post(path, headers={"Authorization": authorization})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 200), (BEFORE, 200), (f"{BEFORE}x", 401)])
def test_the_token_before_the_newest_one_is_accepted_too(api: Served, token: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert api.client.post("/internal/cache/clear", headers=headers).status_code == status


def test_fresh_opens_a_connection_while_the_pool_lives_on_after_a_password_change(
    serve: Serve, database: Database
) -> None:
    role = f"app_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'first'")
    database.execute(f"GRANT SELECT ON specs, implementations TO {role}")
    login = database.url.replace(database.url.split("//")[1].split("@")[0], f"{role}:first")
    api = serve(API, DATABASE_URL=login)
    assert api.client.get("/specs/absent").status_code == 404

    database.execute(f"ALTER ROLE {role} PASSWORD 'second'")
    assert api.client.get("/specs/absent").status_code == 404
    assert api.client.get("/specs?fresh=1").status_code == 503


def test_health_is_ok_on_a_dead_database_and_specs_say_503(bare: Served) -> None:
    assert bare.client.get("/health").json() == {"status": "ok"}
    answer = bare.client.get("/specs")
    assert (answer.status_code, answer.headers["x-revision"]) == (503, "r1")
    assert bare.await_line("ERROR")["message"].startswith("database unavailable\n")


def test_without_a_configured_token_nobody_enters(bare: Served) -> None:
    assert bare.post("/internal/cache/clear", token="any").status_code == 503


def test_an_old_schema_is_a_500_that_names_its_revision(serve: Serve, database: Database) -> None:
    database.alembic("downgrade", "0003_indexes")
    api = serve(API, DATABASE_URL=database.url, K_REVISION="r2")
    assert api.client.get("/specs?fresh=1").status_code == 200
    database.execute("INSERT INTO specs (id, title, description) VALUES ('x', 'x', 'x')")
    answer = api.client.get("/specs/x")
    assert (answer.status_code, answer.headers["x-revision"]) == (500, "r2")
    assert "image_url" in api.await_line("ERROR")["message"]


def test_it_connects_when_it_is_asked_keeps_no_fresh_connection_and_ends_in_peace(
    serve: Serve, database: Database
) -> None:
    ours = "application_name = 'pyplots-api' AND datname = current_database()"
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"
    api = serve(API, DATABASE_URL=database.url)
    assert database.execute(sessions) == [(0,)]
    assert api.client.get("/specs?fresh=1").status_code == 200
    # The server's side of a closed session takes a moment to go.
    eventually(lambda: database.execute(sessions) == [(0,)])
    assert api.client.get("/specs").status_code == 200
    assert database.execute(sessions) == [(1,)]

    assert api.stop() in (0, -15)
    assert [line["message"] for line in api.lines() if line["logger"] == "pyplots"] == ["serving", "stopped"]
    eventually(lambda: database.execute(sessions) == [(0,)])


def test_the_sync_deletes_what_the_source_lost_and_keeps_what_it_cannot_read(
    serve: Serve, database: Database, tmp_path: Path
) -> None:
    database.execute(
        "INSERT INTO specs (id, title, description) VALUES ('area-stacked', 'a', 'a'), ('box-grouped', 'b', 'b')"
    )
    changed = Variant("api", tmp_path / "api").without_spec("area-stacked").sync_reports_errors()
    changed.write("specs/box-grouped.toml", "not toml")

    answer = serve(changed.at, DATABASE_URL=database.url, SYNC_TOKEN=TOKEN).post("/internal/sync-from-repo")
    outcome = answer.json()
    assert (answer.status_code, outcome["synced"], outcome["deleted"]) == (200, COUNT - 2, 1)
    assert [error.partition(":")[0] for error in outcome["errors"]] == ["box-grouped.toml", "broken.toml"]
    left = {row[0] for row in database.execute("SELECT id FROM specs")}
    assert "box-grouped" in left
    assert "area-stacked" not in left


def test_the_sync_removes_an_implementation_that_the_file_does_not_have(api: Served, shared: Database) -> None:
    shared.execute("INSERT INTO implementations (spec_id, library, code) VALUES ('radar-profile', 'bokeh', 'x')")
    assert api.post("/internal/sync-from-repo").json()["errors"] == []
    libraries = {found["library"] for found in api.client.get("/specs/radar-profile").json()["implementations"]}
    assert libraries == {"matplotlib", "plotly"}


def test_an_empty_source_is_refused_and_nothing_is_deleted(serve: Serve, database: Database, tmp_path: Path) -> None:
    database.execute("INSERT INTO specs (id, title, description) VALUES ('x', 'x', 'x')")
    empty = Variant("api", tmp_path / "api").with_empty_sync_source().at
    answer = serve(empty, DATABASE_URL=database.url, SYNC_TOKEN=TOKEN).post("/internal/sync-from-repo")
    assert (answer.status_code, answer.json()["deleted"]) == (409, 0)
    assert "no specs" in answer.json()["errors"][0]
    assert database.execute("SELECT id FROM specs") == [("x",)]

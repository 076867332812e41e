"""The sample frontend, in front of the sample API and in front of nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from embedded.ports import free_port
from tests.examples.conftest import API, FRONTEND, TOKEN, Database, Serve, Served, serving

SPECS = [tomllib.loads(path.read_text()) for path in (API / "specs").glob("*.toml")]


@pytest.fixture(scope="module")
def page(shared: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The frontend with an API that has been synced."""
    with serving(tmp_path_factory.mktemp("frontend")) as start:
        api = start(API, DATABASE_URL=shared.url, SYNC_TOKEN=TOKEN)
        api.post("/internal/sync-from-repo").raise_for_status()
        yield start(FRONTEND, API_URL=f"http://127.0.0.1:{api.port}", K_REVISION="frontend-00002-xyz")


def test_the_page_shows_every_spec_and_names_its_revision(page: Served) -> None:
    answer = page.client.get("/")
    assert answer.status_code == 200
    assert "<title>pyplots</title>" in answer.text
    assert answer.headers["x-revision"] == "frontend-00002-xyz"
    assert "frontend-00002-xyz" in answer.text
    for spec in SPECS:
        assert spec["title"] in answer.text


def test_a_tag_chooses_among_the_specs(page: Served) -> None:
    text = page.client.get("/?tag=ranking").text
    assert "1 plot<" in text
    assert "Ranked lollipop chart" in text
    assert "Radar chart" not in text


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["id"])
def test_every_spec_has_a_page_and_a_picture(page: Served, spec: dict) -> None:
    picture = page.client.get(f"/plots/{spec['id']}.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert len(list(ElementTree.fromstring(picture.text).iter())) > 5
    assert "no picture" not in picture.text
    text = page.client.get(f"/specs/{spec['id']}").text
    assert f"<title>{spec['title']} · pyplots</title>" in text
    assert text.count("<pre>") == len(spec["implementations"])


def test_fresh_is_passed_on_to_the_api(page: Served, shared: Database) -> None:
    page.client.get("/")
    shared.execute("UPDATE specs SET title = 'A <new> title' WHERE id = 'donut-shares'")
    assert "A &lt;new&gt; title" not in page.client.get("/").text
    assert "A &lt;new&gt; title" in page.client.get("/?fresh=1").text


def test_data_that_cannot_be_drawn_does_not_break_the_page(page: Served, shared: Database) -> None:
    shared.execute("UPDATE specs SET data = '{\"kind\": \"line\", \"x\": \"<script>\"}' WHERE id = 'step-cumulative'")
    answer = page.client.get("/?fresh=1")
    assert answer.status_code == 200
    assert "no picture" in answer.text
    assert "<script>" not in answer.text


def test_an_unknown_spec_is_a_404(page: Served) -> None:
    answer = page.client.get("/specs/absent")
    assert (answer.status_code, "There is no such plot." in answer.text) == (404, True)


def test_without_the_api_the_page_says_so_with_a_502_and_health_stays_ok(serve: Serve) -> None:
    page = serve(FRONTEND, API_URL=f"http://127.0.0.1:{free_port()}", K_REVISION="r1")
    answer = page.client.get("/")
    assert (answer.status_code, answer.headers["x-revision"]) == (502, "r1")
    assert "the API does not answer" in answer.text
    assert "<title>pyplots</title>" not in answer.text
    assert page.client.get("/health").json() == {"status": "ok"}
    assert "the API failed" in page.await_line("ERROR")["message"]

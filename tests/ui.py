"""Prefect's UI as a person uses it: a real Chromium, of which every step leaves a picture in ``test-output/ui``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.stack import ROOT

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PICTURES = ROOT / "test-output" / "ui"
PATIENCE_SECONDS = 90.0
FLOW_SECONDS = 180.0


class Ui:
    """One tab of a browser on a Prefect UI. Fields and buttons are found as a person finds them: by their words."""

    def __init__(self, page: Any, address: str) -> None:
        self._page, self._address = page, address
        self._taken = 0

    def open(self, path: str = "") -> None:
        """Open a page of the UI; nothing that is not of this machine is asked for anything."""
        self._page.goto(self._address + path, wait_until="domcontentloaded")

    def see(self, text: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until exactly this text is seen."""
        self._page.get_by_text(text, exact=True).first.wait_for(timeout=seconds * 1000)

    def see_end(self, state: str) -> None:
        """Wait until the run that is shown has this state, or an end."""
        found = self._page.get_by_text(re.compile(f"^({state}|Completed|Failed|Crashed|Cancelled)$")).first
        found.wait_for(timeout=FLOW_SECONDS * 1000)
        assert found.inner_text() == state, self.read()

    def read(self) -> str:
        """All text that is seen, in one line."""
        return " ".join(self._page.locator("body").inner_text().split())

    def click(self, words: str, role: str = "button") -> None:
        self._page.get_by_role(role, name=words, exact=True).first.click()

    def send(self, words: str) -> str:
        """Send the form that starts a run; the run's id. The UI's own link to it is gone after some seconds."""
        with self._page.expect_response(re.compile(r"/create_flow_run$")) as answer:
            self.click(words)
        return str(answer.value.json()["id"])

    def open_artifact(self, key: str) -> None:
        """Go from a run to the newest version of one of its artifacts."""
        self.click("Artifacts", role="tab")
        self._page.locator("a[href*='/artifacts/']").get_by_text(key, exact=True).first.click()
        self._page.locator("a[href*='/artifacts/artifact/']").first.click()

    def search(self, words: str, text: str) -> None:
        """Type into a search box: a list shows a page at a time, and other deployments may come first."""
        self._page.get_by_placeholder(words).fill(text)

    def fill(self, label: str, text: str) -> None:
        self._page.get_by_label(label).fill(text)

    def switch(self, label: str) -> None:
        self._page.get_by_label(label).click()

    def choose(self, option: str) -> None:
        """Choose in the one field with choices that nothing is chosen in."""
        self._page.get_by_text("Select", exact=True).click()
        self._page.get_by_role("option", name=option).click()

    def menu(self, item: str) -> None:
        """Click an item of the page's own menu, at its top right."""
        self._page.locator("button[aria-haspopup=menu]").first.click()
        self._page.get_by_role("menuitem", name=item, exact=True).click()

    def picture(self, name: str) -> None:
        """Keep what is seen."""
        self._taken += 1
        self._page.screenshot(path=PICTURES / f"{self._taken:02d}-{name}.png")


@contextmanager
def browser(address: str) -> Iterator[Ui]:
    """A browser on a Prefect UI, for as long as the block runs."""
    from playwright.sync_api import Route, sync_playwright

    def local_only(route: Route) -> None:
        route.continue_() if route.request.url.startswith(address) else route.abort()

    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(QUIET))
        page = opened.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        page.route("**/*", local_only)
        ui = Ui(page, address)
        try:
            yield ui
        finally:
            ui.picture("last")
            opened.close()

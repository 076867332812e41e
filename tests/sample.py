"""A sample estate of its own for a test: a project in the local cloud, its sources in a folder, its estate file.

Nothing here is a fake: the services are built and run by the local cloud, the database is a real PostgreSQL.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tasks.estate import Estate
from tasks.models import ServiceState
from tasks.settings import settings
from tasks.site import Site, open_site
from tests.variants import Variant

ROOT = Path(__file__).parent.parent


@dataclass
class Sample:
    """One estate in one project. ``services`` are those that it has: ``api``, or ``api`` and ``frontend``."""

    folder: Path
    project: str
    services: tuple[str, ...] = ("api",)
    steps: tuple[tuple[int, int], ...] = ((50, 30),)
    thorough: bool = False
    """Judge canaries as the shipped estate does; else a few good answers are enough, for tests of something else."""
    extra: str = ""
    _site: Site | None = field(default=None, repr=False)

    @property
    def estate_file(self) -> Path:
        return self.folder / "estate.toml"

    def write(self) -> Sample:
        """Write the estate file and the sources as shipped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_estate()
        for name in self.services:
            Variant(name, self.folder / name)
        return self

    def write_estate(self) -> None:
        """Write the estate file alone, and read it anew when it is next needed."""
        self.estate_file.write_text(estate_text(self.project, self.services, self.steps, self.thorough) + self.extra)
        self._site = None

    def variant(self, service: str = "api") -> Variant:
        """The service's source, to be changed in place: every change builds on the ones before."""
        return Variant.at_folder(service, self.folder / service)

    def seed(self) -> Sample:
        """Create the project's database, users, secrets and bucket in the local cloud."""
        from deployments.sample_estate import seed

        seed(Estate.load(self.estate_file), settings(), lambda _: None)
        return self

    @property
    def site(self) -> Site:
        if self._site is None:
            self._site = open_site(self.estate_file)
        return self._site

    def state(self, service: str = "api") -> ServiceState:
        return self.site.run.get_service(service)

    def serving(self, service: str = "api") -> str:
        """The one revision with all traffic; fails the test on a split, a tag or a mark."""
        state = self.state(service)
        lines = [line for line in state.traffic_statuses if line.percent]
        assert [line.percent for line in lines] == [100], state.traffic_statuses
        assert not any(line.tag for line in state.traffic_statuses), state.traffic_statuses
        assert not state.annotations.get("caretaker.dev/canary"), state.annotations
        return lines[0].revision

    def get(self, path: str = "/specs?fresh=1", service: str = "api") -> httpx.Response:
        return httpx.get(self.state(service).uri + path, timeout=20)

    def schema(self) -> str | None:
        return self.site.database(self.site.estate.databases[0]).alembic_revision()

    def jobs(self) -> list[str]:
        return [job.name for job in self.site.run.list_jobs()]

    async def deploy(self, **parameters: Any) -> Any:
        """Run the deploy flow in this process; the final state."""
        from flows.deploy import Deploy, deploy

        request = Deploy(estate=self.estate_file, **{"reason": "test", **parameters})
        return await deploy(request, return_state=True)

    async def roll_back(self, **parameters: Any) -> Any:
        """Run the roll-back flow in this process; the final state."""
        from flows.roll_back import RollBack, roll_back

        request = RollBack(estate=self.estate_file, **{"reason": "test", **parameters})
        return await roll_back(request, return_state=True)


async def verdict(state: Any) -> Any:
    """The verdict of a final state, or the exception it ended with."""
    return await state.aresult(raise_on_failure=False)


#: Eight good answers are enough, and one bad answer is too many.
QUICK_CANARY = """[canary]
unacceptable_error_rate = 0.2
alpha = 0.05
beta = 0.2
judge_latency = false
"""


def estate_text(
    project: str, services: tuple[str, ...], steps: tuple[tuple[int, int], ...], thorough: bool = True
) -> str:
    """The shipped estate file, for another project, other steps, and these services alone."""
    text = (ROOT / "estate.toml").read_text()
    text = text.replace("pyplots-local", project).replace("examples/pyplots/", "")
    head, canary, tail = _split_canary(text)
    wanted = "".join(f"\n[[canary.steps]]\npercent = {p}\nmax_seconds = {s}\n" for p, s in steps)
    canary = re.sub(r"\n\[\[canary\.steps\]\]\npercent = \d+\nmax_seconds = \d+\n", "", canary)
    text = head + (canary if thorough else QUICK_CANARY) + wanted + tail
    if "frontend" not in services:
        start = text.index('[[services]]\nname = "frontend"')
        text = text[:start] + text[text.index("[[secrets]]", start) :]
    return text


def _split_canary(text: str) -> tuple[str, str, str]:
    start, end = text.index("[canary]"), text.index("# [[freeze]]")
    return text[:start], text[start:end], text[end:]


def ended(flow: Any) -> Any:
    """Run a flow that was called for its final state; its verdict, or the exception it ended with."""

    async def both() -> Any:
        return await verdict(await flow)

    return run(both())


def run(awaitable: Any) -> Any:
    """Run a coroutine in a test that is not asynchronous itself."""
    return asyncio.run(awaitable)

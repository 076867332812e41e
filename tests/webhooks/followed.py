"""An estate that follows a branch, on a real Prefect server without a worker: the test says how each run ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType

from tasks.delivery_models import Arrival, Delivery
from tasks.hand_over import HandOver
from tasks.models import Change
from tasks.site import Site, open_site
from tests.dependencies.repositories import Repository
from tests.deployments.runs import ask
from tests.sample import Sample

_numbers = itertools.count(1)


@flow(name="released")
async def released(request: dict[str, Any]) -> None:
    """Stands for the deploy flow: nobody runs it here."""


class Followed:
    """The estate, its repository and its inbox."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.name = f"followed-{next(_numbers):03d}"
        (folder / "git").mkdir(parents=True)
        self.repository = Repository(folder / "git")
        self.commits = [self.repository.commit("first")]
        self.sample = Sample(folder / "estate", self.name, services=("api",), extra=extra)
        self.sample.folder.mkdir(parents=True)
        self.sample.write_estate()
        text = self.sample.estate_file.read_text()
        section = f'[source]\nrepository = "{self.repository.url}"\nbranch = "main"\n'
        section += f'deployment = "released/{self.name}"\n'
        self.sample.estate_file.write_text(text.replace('[source]\nrepository = "."\n', section))
        ask(self._deployment)
        self.hand_over = self.new_hand_over()

    @property
    def site(self) -> Site:
        return open_site(self.sample.estate_file)

    def new_hand_over(self) -> HandOver:
        """As another process would have it, such as the one that comes after a kill."""
        made = HandOver(self.site)
        made._gather *= 0
        return made

    def commit(self) -> str:
        self.commits.append(self.repository.commit())
        return self.commits[-1]

    def deliver(self, number: str, commit: str, **fields: Any) -> Delivery:
        """A delivery as the receiver writes it down."""
        made = {"source": "github", "delivery": number, "event": "push", "digest": number, "branch": "main"}
        arrival = Arrival.model_validate({**made, "commit": commit, **fields})
        return self.hand_over.inbox.accept(arrival, datetime.now(UTC))

    def step(self) -> None:
        self.hand_over._judged = ((), datetime.min.replace(tzinfo=UTC))
        self.hand_over.step()

    def now(self, delivery: Delivery) -> Delivery:
        found = self.hand_over.inbox.by_ticket(delivery.ticket)
        assert found is not None
        return found

    def runs(self) -> list[FlowRun]:
        """Every run of this estate's deployment, oldest first."""
        found = ask(lambda client: self._runs(client))
        return sorted(found, key=lambda run: run.created or datetime.now(UTC))

    def refs(self) -> list[str]:
        """The commits that the runs were asked to release."""
        return [run.parameters["request"]["ref"] for run in self.runs()]

    def end(self, state: str, message: str = "") -> FlowRun:
        """Let the newest run end so."""
        run = self.runs()[-1]
        ended: State[Any] = State(type=StateType(state), message=message)
        ask(lambda client: client.set_flow_run_state(run.id, ended, force=True))
        return run

    def record(
        self, commit: str, verdict: str = "released", kind: str = "deploy", run: str = "by-hand", **more: Any
    ) -> None:
        """A line of the ledger, as the flows write it."""
        number = next(_numbers)
        fields = {
            "kind": kind, "subject": "api", "verdict": verdict, "key": f"{self.name}/{number}", "run": run,
            "at": datetime.now(UTC), "who": "ops@host", "before": more.pop("before", {}),
            "inputs": {"commit": commit, "project": self.name},
            "after": {"revision": f"api-{commit[:7]}", "verified": verdict == "released", **more},
        }  # fmt: skip
        self.site.ledger.append(Change.new(**fields))

    def released(self, commit: str) -> None:
        """Let the newest run release its commit: as the flow does, it writes itself down before it ends."""
        self.record(commit, run=str(self.runs()[-1].id))
        self.end("COMPLETED")

    async def _deployment(self, client: PrefectClient) -> None:
        request = {"estate": "estate.toml", "services": ["api"]}
        flow_id = await client.create_flow(released)
        await client.create_deployment(flow_id=flow_id, name=self.name, parameters={"request": request})

    async def _runs(self, client: PrefectClient) -> list[FlowRun]:
        from prefect.client.schemas.filters import DeploymentFilter

        named = DeploymentFilter.model_validate({"name": {"any_": [self.name]}})
        return await client.read_flow_runs(deployment_filter=named)


Make = Callable[..., Followed]

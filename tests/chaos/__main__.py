"""``make chaos``: every fault at every writing call of a flow, as a table. Exit status 1 when one case went wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.cases import generate, sample
from tests.chaos.deploy_scenario import DeployScenario
from tests.chaos.harness import Harness, Outcome, Scenario, run_all
from tests.chaos.maintain_database_scenario import MaintainDatabaseScenario
from tests.chaos.roll_back_scenario import RollBackScenario
from tests.chaos.rotate_secrets_scenario import RotateSecretsScenario
from tests.chaos.rotate_token_scenario import RotateTokenScenario
from tests.chaos.verify_backups_scenario import VerifyBackupsScenario
from tests.chaos.weekly_review_scenario import WeeklyReviewScenario
from tests.flows.care import Cared
from tests.flows.drills import Drilled
from tests.sample import Sample, run
from tests.stack import Stack, running_stack

CONSOLE = Console(width=150)


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="ck-chaos-") as folder, running_stack(Path(folder)) as stack:
        flows = [arguments.flow] if arguments.flow else list(SCENARIOS)
        ended = {flow: _outcomes(flow, Path(folder) / flow, stack, arguments) for flow in flows}
    for flow, outcomes in ended.items():
        CONSOLE.print(_table(flow, outcomes))
        CONSOLE.print(f"{sum(one.ok for one in outcomes)} of {len(outcomes)} cases of {flow} ended well")
    return 0 if all(one.ok for outcomes in ended.values() for one in outcomes) else 1


def _outcomes(flow: str, folder: Path, stack: Stack, arguments: argparse.Namespace) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for scenario in SCENARIOS[flow](folder, stack):
        harness = Harness(stack.control, scenario)
        cases = generate(harness.clean_run())
        chosen = [case for case in cases if arguments.only in case.words]
        chosen = sample(chosen, arguments.sample) if arguments.sample else chosen
        CONSOLE.print(
            f"{flow}: {len(chosen)} of {len(cases)} cases, from {len(cases) // 4} writing calls of a clean run"
        )
        outcomes += run_all(harness, chosen, _tell)
        for outcome in scenario.moments() if isinstance(scenario, MaintainDatabaseScenario) else ():
            _tell(outcome)
            outcomes.append(outcome)
    return outcomes


def _deploy(folder: Path, stack: Stack) -> list[Scenario]:
    return [DeployScenario(_released(folder, "chaos-deploy"), stack.control)]


def _roll_back(folder: Path, stack: Stack) -> list[Scenario]:
    return [RollBackScenario(_released(folder, "chaos-back"), stack.control)]


def _rotate_secrets(folder: Path, stack: Stack) -> list[Scenario]:
    login, token = _released(folder, "chaos-rotate"), _released(folder / "token", "chaos-token")
    return [RotateSecretsScenario(login), RotateTokenScenario(token)]


def _weekly_review(folder: Path, stack: Stack) -> list[Scenario]:
    paged = Sample(folder / "estate", "chaos-review").write().seed()
    viewed = Sample(folder / "viewed", "chaos-view").write().seed()
    return [WeeklyReviewScenario(paged, stack.control), WeeklyReviewScenario(viewed, stack.control, in_view=True)]


def _released(folder: Path, project: str) -> Sample:
    estate = Sample(folder / "estate", project, steps=((50, 20),)).write().seed()
    run(estate.deploy())
    return estate


def _verify_backups(folder: Path, stack: Stack) -> list[Scenario]:
    drilled = Drilled(_released(folder, "chaos-drill"), stack).prepare()
    drilled.quiet_night()
    moments = Drilled(_released(folder / "moments", "chaos-moment"), stack).prepare()
    moments.night()
    moment = moments.recoverable_moment()
    return [VerifyBackupsScenario(drilled, "newest"), VerifyBackupsScenario(moments, "point_in_time", moment)]


def _maintain_database(folder: Path, stack: Stack) -> list[Scenario]:
    cared = Cared(Sample(folder / "estate", "chaos-care").write().seed())
    return [MaintainDatabaseScenario(cared, stack.control)]


SCENARIOS: dict[str, Callable[[Path, Stack], list[Scenario]]] = {
    "deploy": _deploy,
    "maintain-database": _maintain_database,
    "roll-back": _roll_back,
    "rotate-secrets": _rotate_secrets,
    "verify-backups": _verify_backups,
    "weekly-review": _weekly_review,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("flow", nargs="?", default="", choices=["", *SCENARIOS], help="empty: every flow")
    parser.add_argument("--sample", type=int, default=0, help="at most so many cases, one for each kind of call")
    parser.add_argument("--only", default="", help="only cases whose words hold this text")
    return parser.parse_args()


def _tell(outcome: Outcome) -> None:
    mark = "ok " if outcome.ok else "BAD"
    CONSOLE.print(
        f"{mark} {outcome.case.words}: {outcome.verdict}, {outcome.runs} runs, {outcome.seconds:.0f} s "
        f"{'' if outcome.met else 'NOT MET '}{'; '.join(outcome.wrong)}",
        highlight=False,
    )


def _table(flow: str, outcomes: list[Outcome]) -> Table:
    table = Table("case", "met", "runs", "ended", "wrong", title=f"{flow} under chaos")
    for o in outcomes:
        table.add_row(o.case.words, "yes" if o.met else "no", str(o.runs), o.verdict, "; ".join(o.wrong))
    return table


if __name__ == "__main__":
    sys.exit(main())

"""The command ``caretaker``. Every command imports what it needs when it runs, so that help and status are quick."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.addresses import LOOPBACK, WEBHOOKS_PORT
from embedded.temporary import NotOurs
from tasks.errors import OpsError

app = typer.Typer(
    help="The scheduled care of an application on Google Cloud.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)
State = Annotated[
    Path | None,
    typer.Option("--state", envvar="CARETAKER_STATE", help="The stack's state folder [default: .caretaker]"),
]
EstateFile = Annotated[Path | None, typer.Option("--estate", envvar="CARETAKER_ESTATE", help="The estate file")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
DEFAULT_STATE = Path(".caretaker")


@app.callback()
def everywhere(state: State = None) -> None:
    if state:
        os.environ["CARETAKER_STATE"] = str(state)


@app.command()
def up(
    state: State = None,
    estate: EstateFile = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready")] = False,
    deploy: Annotated[bool, typer.Option(help="Deploy the services that were never released")] = True,
    worker: Annotated[bool, typer.Option(help="Run the deployments' flows")] = True,
    webhooks: Annotated[bool, typer.Option(help="Receive webhooks, where the estate has [webhooks]")] = True,
    sample: Annotated[bool, typer.Option(help="Make the sample's database and secrets in the local cloud")] = True,
    ui_port: Annotated[int | None, typer.Option(help="Port of Prefect's UI [default: 4200, or a free one]")] = None,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that a stop waits for running flows")] = 30.0,
    listen: Annotated[str, typer.Option(help="Address of the UI; beyond loopback it needs a password")] = LOOPBACK,
) -> None:
    """Start everything: local cloud, Prefect with its UI, worker, and the first release of the sample.

    For an estate on Google there is no local cloud, and nothing is deployed.
    """
    from deployments.cared_for import needs_local_cloud, prove_cared_for
    from deployments.stack import up as stack
    from deployments.stack.programs import PREFECT_YAML
    from deployments.stack.supervisor import Wishes
    from tasks.estate import Estate

    folder, file = _folder(state), stack.estate_of(estate)
    given = Estate.load(file)
    local = given.google.local_cloud
    prove_cared_for(PREFECT_YAML, given)
    if detach:
        arguments = [f"--state={folder.root}", f"--estate={file}", f"--drain={drain}", f"--listen={listen}"]
        arguments += [f"--ui-port={ui_port}"] if ui_port else []
        flags = (("deploy", deploy), ("worker", worker), ("webhooks", webhooks), ("sample", sample))
        raise typer.Exit(stack.detach(folder, [*arguments, *(f"--no-{name}" for name, on in flags if not on)]))
    wishes = Wishes(
        file, deploy=deploy and sample and local, worker=worker, sample=sample and local, ui_port=ui_port,
        drain_seconds=drain, listen=listen, webhooks=webhooks and given.webhooks is not None,
        local_cloud=needs_local_cloud(PREFECT_YAML, given),
    )
    raise typer.Exit(stack.up(folder, wishes))


@app.command()
def down(state: State = None) -> None:
    """Stop the stack: waits for running flows, keeps the state."""
    from deployments.stack import up as stack

    raise typer.Exit(stack.down(_folder(state)))


@app.command()
def status(state: State = None, as_json: AsJson = False) -> None:
    """Tell what runs, where it is, and how it is."""
    from deployments.stack.status import read_status

    found = read_status(_folder(state))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    from rich.console import Console

    from deployments.stack.summary import status_table

    console = Console()
    if found["processes"]:
        console.print(status_table(found))
    console.print("[green]ready[/]" if found["ready"] else f"[yellow]not ready: {found['phase']}[/]")


@app.command()
def env(state: State = None) -> None:
    """Print the variables with which Prefect's own command meets this stack: eval "$(caretaker env)"."""
    from deployments.environment import prefect_environment

    for name, value in prefect_environment(_folder(state).root).items():
        print(f"export {name}={shlex.quote(value)}")


@app.command()
def run(
    flow: Annotated[str, typer.Argument(help="a flow, such as deploy or update-dependencies")],
    param: Annotated[list[str] | None, typer.Option(help="key=value; may be given often")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing")] = False,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Run a flow here, with a live view of its steps; exit status 0 only when it completed."""
    from deployments.environment import prefect_environment
    from deployments.stack.programs import prefect_api

    folder = _folder(state)
    prefect_api(folder)  # Prefect itself says it with a traceback, or meets another stack's server on the usual port
    os.environ.update(prefect_environment(folder.root))
    from deployments.run import print_ended, run_flow

    raise typer.Exit(print_ended(run_flow(flow, param or [], dry_run=dry_run, as_json=as_json), as_json=as_json))


@app.command()
def watch(
    state: State = None,
    estate: EstateFile = None,
    schedules: Annotated[Path | None, typer.Option(help="A prefect.yaml [default: the one of the checkout]")] = None,
) -> None:
    """Report verdicts that did not come, without asking Prefect: for cron. Exit status 1 when one is missing anew."""
    folder = _folder(state)
    from deployments.stack.programs import PREFECT_YAML
    from deployments.stack.up import estate_of
    from deployments.watch import watch as take_one_look

    raise typer.Exit(take_one_look(schedules or PREFECT_YAML, estate_of(estate), folder.root))


@app.command()
def receive(
    state: State = None,
    estate: EstateFile = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 in a container")] = LOOPBACK,
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="The port to listen on")] = WEBHOOKS_PORT,
    public_url: Annotated[str, typer.Option(help="What senders reach it by, for the status URLs")] = "",
    proxies: Annotated[str, typer.Option(help="Proxies whose X-Forwarded-For is believed, or *")] = "",
    hand_over: Annotated[bool, typer.Option(help="Hand deliveries over to Prefect too")] = True,
) -> None:
    """Receive webhooks on their own, outside the embedded stack; see docs/webhooks.md."""
    from deployments.stack.up import estate_of

    folder = _folder(state)
    if "PREFECT_API_URL" not in os.environ and folder.read():
        from deployments.environment import prefect_environment

        os.environ.update(prefect_environment(folder.root))
    from deployments.webhooks.server import Wishes, serve

    serve(Wishes(estate_of(estate), host, port, public_url, proxies, hand_over))


@app.command()
def doctor(state: State = None, estate: EstateFile = None, as_json: AsJson = False) -> None:
    """Check estate, credentials, APIs, permissions and reachability; exit status 1 when something is missing."""
    folder = _folder(state)
    from deployments.doctor import examine, print_findings

    raise typer.Exit(print_findings(examine(folder, estate), as_json=as_json))


def _folder(state: Path | None) -> Any:
    from deployments.stack.folder import Folder

    folder = Folder(state or DEFAULT_STATE)
    os.environ["CARETAKER_STATE"] = str(folder.root)
    return folder


def main() -> None:
    """Run the command; an error of ours is one line and exit status 1."""
    try:
        app()
    except (OpsError, NotOurs) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

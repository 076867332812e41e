"""``python -m localcloud --state DIR``: one local cloud in one process, until SIGTERM or SIGINT.

Safety property: a state folder is served by one process at a time, held by a lock that the kernel drops when the
process dies. What stands in the way of a start is one line on stderr and exit status 1, and nothing is changed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from embedded.temporary import NotOurs
from localcloud.state import Ports, StartError, locked

_PORTS = {
    "grpc": "the gRPC APIs", "http": "the storage API", "bigquery": "the BigQuery API",
    "control": "faults and the call log",
}  # fmt: skip
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    stop = _stop_event()
    try:
        with locked(options.state):
            ports = Ports(options.grpc_port, options.http_port, options.control_port, options.bigquery_port)
            ports.check()
            _serve(options.state, ports, stop)
    except (StartError, NotOurs) as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(state: Path, ports: Ports, stop: threading.Event) -> None:
    # Imported only now: a second start on the same state is refused at once, not after loading Google's clients.
    from localcloud.server import Server

    server = Server(state, ports)
    try:
        server.start()
        stop.wait()
    finally:
        server.stop()


def _stop_event() -> threading.Event:
    """An event set by SIGTERM and SIGINT, also where a shell started this in the background with them ignored."""
    event = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: event.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return event


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m localcloud", description="An embedded Google Cloud on loopback.")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="folder that keeps every resource")
    for name, what in _PORTS.items():
        help_ = f"port of {what}; default: the last one, or a free one"
        parser.add_argument(f"--{name}-port", type=_port, metavar="N", help=help_)
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65_535:
        raise ValueError(text)
    return port


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Operations that still run are taken up again at the next start: their threads are not waited for.
    os._exit(status)

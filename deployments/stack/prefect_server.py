"""``python -m deployments.stack.prefect_server``: what ``prefect server start`` starts, only sooner.

Nearly all of a start is imports: the collector is off while they run (5.0 s instead of 6.1 s), Prefect's command line
is not loaded, and the database may come up meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import socket
import time

from deployments.stack.heap import give_back

DATABASE_PATIENCE_SECONDS = 60.0
BACKLOG = 512


def main() -> None:
    """Serve until SIGTERM."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--host", default="127.0.0.1")
    given = arguments.parse_args()
    reserved = _reserve(given.host, given.port)
    gc.disable()
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    give_back()
    gc.freeze()
    gc.enable()
    asyncio.run(_wait_for_database(os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"]))
    config = uvicorn.Config(app, timeout_keep_alive=5, log_level="warning", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[reserved])


def _reserve(host: str, port: int) -> socket.socket:
    """Take the port now, so that nobody else does while the imports run; who connects meanwhile waits."""
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((host, port))
        reserved.listen(BACKLOG)
    except OSError as error:
        raise SystemExit(f"listening on {host} port {port} failed: {error.strerror}") from None
    return reserved


async def _wait_for_database(url: str) -> None:
    """Raises the last error when the database does not answer in time."""
    import asyncpg

    deadline = time.monotonic() + DATABASE_PATIENCE_SECONDS
    while True:
        try:
            connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"), timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            await connection.close()
            return


if __name__ == "__main__":
    main()

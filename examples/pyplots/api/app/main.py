"""The endpoints.

``/health`` says only that the process answers: it knows nothing of the database, as with most services. Who wants to
know whether the application works asks ``/specs?fresh=1``.
"""

import hmac
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError

from app import VERSION
from app.cache import Cache
from app.database import connect, pooled
from app.queries import all_specs, one_spec
from app.revision import REVISION, Stamped
from app.source import read_source
from app.sync import EmptySource, synchronise

log = logging.getLogger("pyplots")
cache = Cache()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Load the driver before the first visitor comes, and give the connections back at the end. Connects to nothing."""
    pooled()
    log.info("serving", extra={"fields": {"version": VERSION, "revision": REVISION}})
    yield
    pooled().dispose()
    log.info("stopped", extra={"fields": {"revision": REVISION}})


web = FastAPI(title="pyplots", version=VERSION, lifespan=lifespan)


def authorized(authorization: Annotated[str, Header()] = "") -> None:
    """Refuse who does not bear the token, or the one before it, while senders change from that to the newer one.

    Compared in constant time; without a configured token nobody may enter.
    """
    token, previous = (os.environ.get(name, "").strip() for name in ("SYNC_TOKEN", "SYNC_TOKEN_PREVIOUS"))
    if not token:
        raise HTTPException(503, "no SYNC_TOKEN is configured")
    borne = authorization.encode()
    if not any(hmac.compare_digest(borne, f"Bearer {one}".encode()) for one in (token, previous or token)):
        raise HTTPException(401, "a valid bearer token is required", {"WWW-Authenticate": "Bearer"})


@web.get("/")
def about() -> dict[str, str]:
    return {"service": "pyplots-api", "version": VERSION, "revision": REVISION}


@web.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@web.get("/specs")
def list_specs(fresh: bool = False) -> dict[str, Any]:
    """All specs; ``fresh=1`` goes past the cache and past the connection pool."""
    specs = _load_specs(fresh=True) if fresh else cache.get("specs", _load_specs)
    return {"specs": specs, "count": len(specs)}


@web.get("/specs/{spec_id}")
def get_spec(spec_id: str) -> dict[str, Any]:
    with connect() as connection:
        spec = one_spec(connection, spec_id)
    if spec is None:
        raise HTTPException(404, f"there is no spec {spec_id!r}")
    return spec


@web.post("/internal/sync-from-repo", dependencies=[Depends(authorized)], response_model=None)
def sync_from_repo() -> dict[str, Any] | JSONResponse:
    """Bring the database in line with the shipped specs. 200 even with errors in it: the caller reads ``errors``."""
    try:
        with pooled().begin() as connection:
            outcome = synchronise(connection, read_source())
    except EmptySource as refusal:
        return JSONResponse({"synced": 0, "deleted": 0, "errors": [str(refusal)]}, status_code=409)
    log.log(logging.WARNING if outcome["errors"] else logging.INFO, "synced", extra={"fields": outcome})
    return outcome


@web.post("/internal/cache/clear", dependencies=[Depends(authorized)])
def clear_cache() -> dict[str, int]:
    """Forget what this instance has cached; the other instances are not reached by it."""
    return {"cleared": cache.clear()}


@web.exception_handler(OperationalError)
async def database_unavailable(request: Request, error: OperationalError) -> JSONResponse:
    """Answer 503 when the database cannot be reached; a wrong statement stays a 500."""
    log.error("database unavailable", exc_info=error, extra={"fields": {"path": request.url.path}})
    return JSONResponse({"detail": "the database is not available"}, status_code=503)


def _load_specs(fresh: bool = False) -> list[dict[str, Any]]:
    with connect(fresh=fresh) as connection:
        return all_specs(connection)


app = Stamped(web)

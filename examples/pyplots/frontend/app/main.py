"""The pages. All data comes from the API at ``API_URL``; when it does not answer, the page says so with a 502."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from app import VERSION
from app.drawing import picture
from app.revision import REVISION, Stamped

HERE = Path(__file__).parent
API_TIMEOUT_SECONDS = 5
API_DOWN = "The plots cannot be loaded: the API does not answer."
log = logging.getLogger("pyplots")
templates = Jinja2Templates(HERE / "templates")
templates.env.globals.update(picture=picture, version=VERSION, revision=REVISION)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=os.environ["API_URL"], timeout=API_TIMEOUT_SECONDS) as client:
        app.state.api = client
        log.info("serving", extra={"fields": {"version": VERSION, "revision": REVISION}})
        yield
    log.info("stopped", extra={"fields": {"revision": REVISION}})


async def health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def index(request: Request) -> Response:
    """All plots; ``?fresh=1`` and ``?tag=`` are passed on or applied."""
    fresh = {"fresh": "1"} if request.query_params.get("fresh") else {}
    everything = (await ask(request, "/specs", fresh))["specs"]
    tag = request.query_params.get("tag", "")
    chosen = [spec for spec in everything if not tag or tag in spec["tags"]]
    tags = sorted({name for spec in everything for name in spec["tags"]})
    return templates.TemplateResponse(request, "index.html", {"specs": chosen, "tags": tags, "chosen": tag})


async def detail(request: Request) -> Response:
    spec = await ask(request, f"/specs/{request.path_params['spec_id']}")
    return templates.TemplateResponse(request, "detail.html", {"spec": spec})


async def drawing(request: Request) -> Response:
    """A plot's picture alone, at the address that the API gives as ``image_url``."""
    spec = await ask(request, f"/specs/{request.path_params['spec_id']}")
    return Response(picture(spec["data"]), media_type="image/svg+xml")


async def ask(request: Request, path: str, params: dict[str, str] | None = None) -> Any:
    """The API's answer. Raises httpx.HTTPError when there is none, or it is not a success."""
    response = await request.app.state.api.get(path, params=params or {})
    return response.raise_for_status().json()


async def api_failed(request: Request, error: Exception) -> Response:
    """Say what went wrong: 404 for what the API does not know, else 502 and no old data in disguise."""
    unknown = isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 404
    status, why = (404, "There is no such plot.") if unknown else (502, API_DOWN)
    if not unknown:
        log.error("the API failed: %r", error, extra={"fields": {"path": request.url.path}})
    return templates.TemplateResponse(request, "failed.html", {"why": why, "status": status}, status_code=status)


web = Starlette(
    lifespan=lifespan,
    exception_handlers={httpx.HTTPError: api_failed},
    routes=[
        Route("/", index),
        Route("/health", health),
        Route("/specs/{spec_id}", detail),
        Route("/plots/{spec_id}.svg", drawing),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ],
)
app = Stamped(web)

"""An instance by itself: what becomes of its process when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import psutil
import pytest
from google.api import monitored_resource_pb2

from localcloud.run.containers import Prepared
from localcloud.run.instances import Blueprint, Instance, Workshop
from localcloud.run.output import Source

SLEEP = "import sys, time; time.sleep(60)"


async def test_a_start_that_is_cancelled_while_its_process_is_made_leaves_none(tmp_path: Path) -> None:
    def prepare() -> Prepared:
        time.sleep(0.5)
        return Prepared([sys.executable, "-S", "-c", SLEEP, str(tmp_path)], tmp_path, {})

    with ThreadPoolExecutor(1) as threads:
        async with aiohttp.ClientSession() as http:
            workshop = Workshop(tmp_path / "records", threads, http, lambda _: None)
            workshop.records.mkdir()
            blueprint = Blueprint(prepare, Source("p", monitored_resource_pb2.MonitoredResource(), {}), 8080)
            starting = asyncio.create_task(Instance(blueprint, workshop, lambda _: None).start())
            await asyncio.sleep(0.2)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert list(workshop.records.iterdir()) == []
    assert [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in (p.info["cmdline"] or [])] == []

"""Several things at once: nothing goes on behind the back of whoever waits."""

from __future__ import annotations

import asyncio

import pytest

from tasks.parallel import all_of, to_the_end


async def test_an_error_is_raised_only_when_everything_has_ended() -> None:
    ended = []

    async def fails() -> None:
        raise ValueError("first")

    async def goes_on() -> None:
        await asyncio.sleep(0.05)
        ended.append("second")

    with pytest.raises(ValueError, match="first"):
        await all_of(fails(), goes_on())
    assert ended == ["second"]


async def test_the_results_come_in_order() -> None:
    async def give(value: int) -> int:
        await asyncio.sleep(0.01 * (3 - value))
        return value

    assert await all_of(give(1), give(2)) == (1, 2)


async def test_what_must_be_done_is_done_however_often_it_is_cancelled() -> None:
    done = []

    async def way_back() -> None:
        await asyncio.sleep(0.1)
        done.append("back")

    task = asyncio.create_task(to_the_end(way_back()))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["back"]

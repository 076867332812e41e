"""Several things at once, and things that must not be left half done.

Safety property: nothing goes on behind the back of whoever waits. ``asyncio.gather`` raises the first error and lets
the others run: they would change services whose lock is given back already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(*work: Coroutine[Any, Any, T]) -> tuple[T, ...]:
    """Do several things at once; when every one has ended, give the results, or raise the first error."""
    ended = await asyncio.gather(*work, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return tuple(one for one in ended if not isinstance(one, BaseException))


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do something to its end, however often it is cancelled meanwhile; the cancellation is raised afterwards.

    A flow's timeout cancels again and again, every ``await`` of the way back included.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result

"""Errors that come from where a value is held.

Safety property: an error that leaves such a place has forgotten the frames below, its own and those of the libraries. A
tool that prints a traceback with its variables would print the value. The message says what failed on which object, and
holds none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)


def discreet(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function's errors forget its frames. Its parameters and its caller's variables hold a ``SecretStr``."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            without_frames(error)
            raise

    return call


def without_frames(error: E) -> E:
    """The error, and all that it comes from, without their frames."""
    seen: set[int] = set()
    found: list[BaseException | None] = [error]
    while found:
        one = found.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            found += (one.__cause__, one.__context__)
    return error

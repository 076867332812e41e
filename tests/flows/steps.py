"""What the tests of the flows share."""

from __future__ import annotations

from typing import Any

from tasks.models import SecretPin
from tests.sample import Sample, ended
from tests.stack import Stack

URL = SecretPin(secret="db-connection-string", version="latest")


def deploy(sample: Sample, **parameters: Any) -> Any:
    """Deploy and give the verdict."""
    return ended(sample.deploy(**parameters))


def calls(stack: Stack, sample: Sample, after: int) -> list[Any]:
    return stack.control.calls(project=sample.project, writes_only=True, after=after)


def newest(stack: Stack, sample: Sample) -> int:
    return max((call.seq for call in stack.control.calls(project=sample.project)), default=0)

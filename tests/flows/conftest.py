"""The flows run under a real Prefect server, against the local cloud, on an estate of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sample import Sample, run, verdict
from tests.stack import Stack

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def new_sample(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sample]:
    """Make an estate in a project of its own, with its database and secrets, nothing deployed."""

    def make(name: str, **options: object) -> Sample:
        folder: Path = tmp_path_factory.mktemp(name)
        return Sample(folder, f"{name}-{next(_numbers):03d}", **options).write().seed()

    return make


@pytest.fixture(scope="session")
def released(new_sample: Callable[..., Sample]) -> Sample:
    """An estate whose API is released, shared by the tests that change code but no schema."""
    return deployed(new_sample("shared"))


@pytest.fixture(scope="session")
def migrated(new_sample: Callable[..., Sample]) -> Sample:
    """An estate whose API is released, shared by the tests that change the schema, each on top of the last."""
    return deployed(new_sample("schema"))


@pytest.fixture
def sample(released: Sample) -> Sample:
    """The shared estate; steps, judge and sources are the same at the start of each test."""
    released.steps, released.thorough = Sample.steps, Sample.thorough
    released.write_estate()
    released.variant().as_shipped()
    return released


@pytest.fixture
def judged(sample: Sample) -> Sample:
    """The shared estate, whose canaries are judged as the shipped estate says: for tests of the canary."""
    sample.thorough = True
    sample.write_estate()
    return sample


def deployed(sample: Sample) -> Sample:
    """Deploy an estate for the first time; fails the test when that does not work."""
    result = run(_deployed(sample))
    assert result.verdict == "released", result
    return sample


async def _deployed(sample: Sample) -> object:
    return await verdict(await sample.deploy(reason="first release"))

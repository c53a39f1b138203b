"""Fixtures: a workdir as a run leaves it."""

import pathlib
from collections.abc import Callable

import pytest
from example_run import Example, write_example


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A complete workdir with its data folder, shared by tests; not to be changed."""
    return write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def new_example(tmp_path: pathlib.Path) -> Callable[..., Example]:
    """Makes a small one that a test may change."""

    def make(**sizes: int) -> Example:
        return write_example(tmp_path, **({"steps": 4, "items": 4, "clips": 2} | sizes))

    return make

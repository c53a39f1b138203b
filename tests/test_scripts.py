"""Every script is run by a test, in this process (`scripts.run`) or in one of its own."""

import pathlib
import re

import pytest

HERE = pathlib.Path(__file__)
NAMES = sorted(path.stem for path in (HERE.parents[1] / "scripts").glob("*.py"))


def calls_of(name: str) -> list[str]:
    """The test files that start a script: they name its file in a command, or give it to `run`."""
    own, command = rf'run\(\s*"{name}"', rf'"scripts/{name}\.py"|"scripts" / "{name}\.py"'
    files = [path for path in HERE.parent.rglob("*.py") if path != HERE]
    return [path.name for path in files if re.search(f"{own}|{command}", path.read_text())]


@pytest.mark.parametrize("name", NAMES)
def test_a_test_runs_it(name):
    assert calls_of(name)


def test_one_that_no_test_runs_is_found():
    assert not calls_of("prepare_nothing")

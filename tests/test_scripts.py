"""Every script is run by a test, in this process (`scripts.run`) or in one of its own."""

import pathlib
import re

import pytest

import scripts

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


@pytest.mark.parametrize("name", NAMES)
def test_without_arguments_it_says_in_one_line_what_is_missing(name, capsys):
    assert scripts.status_of(name) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and ("is missing" in line or "give --" in line)


@pytest.mark.parametrize(
    "name, override",
    [
        ("score", "rl.steps=9"), ("score", "data.folder=x"), ("evaluate", "data.frames=9"),
        ("evaluate", "model.lora.rank=4"), ("evaluate", "rl.temperature=0.5"),
        ("report_benchmarks", "evaluation.samples=1"), ("rank_by_hand", "data.frames=9"),
        ("export_weights", "model.lora.rank=4"), ("audit_gains", "seed=1"),
        ("audit_vicuna", "seed=1"), ("chat", "oracle.name=reference"),
    ],
)  # fmt: skip
def test_an_override_without_effect_is_refused(name, override, capsys):
    assert scripts.status_of(name, "--workdir=none", f"--config.{override}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    key = override.split("=")[0]
    assert line.startswith(f"error: --config.{key} has no effect here: {name}.py reads ")


def test_one_that_no_test_runs_is_found():
    assert not calls_of("prepare_nothing")

"""Every script is run by a test, in this process (`scripts.run`) or in one of its own."""

import errno
import os
import pathlib
import re
import subprocess
import sys

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


WRITES = ("train_sft", "train_rl", "make_preferences", "evaluate")


@pytest.mark.parametrize("name", WRITES)
def test_a_read_only_workdir_is_refused_before_any_work(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a read-only disk
    assert scripts.status_of(name, "--config=configs/demo.py:tiny", f"--workdir={tmp_path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: --workdir={tmp_path} may not be written to; name another folder"


def test_a_read_only_data_folder_is_one_line(tmp_path, monkeypatch, capsys):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "mkdir", refuse)
    flags = ("--config=configs/demo.py:tiny", f"--config.data.folder={tmp_path}/data")
    assert scripts.status_of("prepare_data", *flags) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"failed: {tmp_path}/data: Read-only file system; make room")


def test_a_folder_mounted_read_only_is_one_line(tmp_path):
    """A real one, which only a namespace of its own may mount."""
    space = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*space, "mount", "-t", "tmpfs", "none", tmp_path], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine makes no namespaces")
    mounted = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    script = [sys.executable, "scripts/train_rl.py", "--config=configs/demo.py:tiny"]
    command = [*space, "sh", "-c", mounted, tmp_path, *script, f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=scripts.FOLDER.parent)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: --workdir={tmp_path} may not be")
    assert "Traceback" not in done.stderr


def test_one_that_no_test_runs_is_found():
    assert not calls_of("prepare_nothing")

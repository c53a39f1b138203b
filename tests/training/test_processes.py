"""Several real processes on the loopback address, against one process."""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from orl_jax.rl import stage as rl
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.metrics import read_metrics
from orl_jax.run.processes import LOST, combine_metrics, gather, gather_rows

pytestmark = pytest.mark.heavy

ROOT = pathlib.Path(__file__).parents[2]
PATIENCE = 240  # seconds that anything may take here


@pytest.fixture(scope="module")
def launch(run):
    """Starts `count` processes of `scripts/train_rl.py` on one workdir; they end with the test."""
    with contextlib.ExitStack() as stack:

        def launch(count, workdir, **overrides):
            overrides |= start_of(run)
            command = [sys.executable, "scripts/train_rl.py", "--config=configs/demo.py:tiny"]
            command += [
                f"--workdir={workdir}",
                *(f"--config.{k}={v}" for k, v in overrides.items()),
            ]
            address = f"127.0.0.1:{_free_port()}"
            each = [["--coordinator", address, "--num_processes", count, "--process_id", index]
                    for index in range(count)]  # fmt: skip
            parts = [[str(word) for word in part] for part in each]
            processes = [
                subprocess.Popen(
                    [*command, *part], cwd=ROOT, text=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                )
                for part in parts
            ]  # fmt: skip
            for process in processes:
                stack.callback(process.kill)
            return processes

        yield launch


def start_of(run):
    start = {"data.folder": run[0].data.folder, "rl.init_from": f"{run[1]}/checkpoints/sft"}
    # One program, whatever the number of steps.
    return start | {"rl.schedule": "constant", "rl.warmup_steps": 2}


def train_alone(run, workdir, **overrides):
    """The same stage in the test's own process."""
    config = run[0].copy_and_resolve_references().unlock()
    config.update_from_flattened_dict(overrides | start_of(run))
    rl.train(config, str(workdir))


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def finish(processes):
    """(status, standard error) of each."""
    errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    return [(p.returncode, error) for p, error in zip(processes, errors, strict=True)]


def restored(workdir):
    with Checkpoints(str(workdir), "rl") as checkpoints:
        return checkpoints.restore()


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """The workdir of ten steps in one process."""
    workdir = tmp_path_factory.mktemp("alone")
    train_alone(run, workdir, **{"rl.steps": 10})
    return workdir


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_do_what_one_process_does(launch, alone, tmp_path, count):
    for status, error in finish(launch(count, tmp_path, **{"rl.steps": 10})):
        assert status == 0, error
    (state, extra), (expected, _) = restored(tmp_path), restored(alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), state, expected)
    assert extra["data"]["positions"] == [40 // count] * count
    ours, theirs = read_metrics(str(tmp_path), "rl"), read_metrics(str(alone), "rl")
    for name in ("step", "loss", "oracle/valid_fraction", "response/length_mean"):
        mine, other = ([row.get(name, 0.0) for row in rows] for rows in (ours, theirs))
        np.testing.assert_allclose(mine, other, atol=1e-5, err_msg=name)
    for name in ("validation/accuracy", "validation/sampled_accuracy"):
        assert ours[-1][name] == theirs[-1][name]
    tables = [(path / "rollouts" / "10.jsonl").read_text() for path in (tmp_path, alone)]
    mine, other = ([json.loads(line) for line in table.splitlines()] for table in tables)
    assert [row["responses"] for row in mine] == [row["responses"] for row in other]


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_lost_process_ends_the_others_and_a_restart_resumes(run, launch, tmp_path, victim):
    often = {"checkpoint.every_steps": 2, "rl.validate_every": 0}
    processes = launch(2, tmp_path, **{"rl.steps": 100_000, **often})
    _until_saved(tmp_path, processes)
    processes[victim].kill()
    other = processes[1 - victim]
    since = time.monotonic()
    error = other.communicate(timeout=PATIENCE)[1]
    assert time.monotonic() - since < 120
    # Without the first process JAX's runtime aborts the others, unless they leave before it does.
    assert other.returncode in ((1, -signal.SIGABRT) if victim == 0 else (1,)), error
    assert LOST in error or "another task died" in error
    step = int(restored(tmp_path)[0]["step"])
    assert step >= 2
    # On fewer machines: one process resumes what two had saved.
    train_alone(run, tmp_path, **{"rl.steps": step + 3, **often})
    assert int(restored(tmp_path)[0]["step"]) == step + 3
    assert restored(tmp_path)[1]["data"]["position"] == (step + 3) * 4
    steps = [row["step"] for row in read_metrics(str(tmp_path), "rl")]
    assert steps == list(range(1, step + 4))


@pytest.mark.slow
def test_a_signal_to_one_stops_all_with_one_checkpoint(launch, tmp_path):
    often = {"checkpoint.every_steps": 2, "rl.validate_every": 0}
    processes = launch(2, tmp_path, **{"rl.steps": 100_000, **often})
    _until_saved(tmp_path, processes)
    processes[1].send_signal(signal.SIGTERM)
    for status, error in finish(processes):
        assert status == 128 + signal.SIGTERM, error
    assert int(restored(tmp_path)[0]["step"]) == read_metrics(str(tmp_path), "rl")[-1]["step"]


def _until_saved(workdir, processes):
    deadline = time.monotonic() + PATIENCE
    while not [f for f in pathlib.Path(workdir).glob("checkpoints/rl/*") if f.name.isdigit()]:
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_without_a_cluster_the_error_names_the_flags(tmp_path):
    command = [sys.executable, "scripts/train_rl.py", "--config=configs/demo.py:tiny"]
    command += [f"--workdir={tmp_path}", "--distributed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "--coordinator=HOST:PORT --num_processes=N" in done.stderr.splitlines()[-1]


def test_one_process_has_nobody_to_ask():
    assert gather({"a": 1}) == [{"a": 1}]
    assert gather_rows([1, 2]) == [1, 2]


def test_metrics_of_several_processes():
    first = {"time/oracle": 1.0, "kl": 0.2, "tokens_per_second": 10.0, "oracle/seconds": 3.0}
    second = {"time/oracle": 3.0, "kl": 0.4, "tokens_per_second": 20.0, "oracle/seconds": 1.0}
    assert combine_metrics([first, second]) == {
        "time/oracle": 3.0, "kl": pytest.approx(0.3), "tokens_per_second": 30.0,
        "oracle/seconds": 3.0,
    }  # fmt: skip
    assert combine_metrics([first]) == first

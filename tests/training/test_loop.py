"""How the loop ends: not a number, a full disk, a workdir in use; with a stage of one parameter."""

import math
import re
import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.errors import Failure, TrainingHalted, UserError
from orl_jax.run.lock import Lock
from orl_jax.run.stop import StopRequested
from orl_jax.training import loop
from orl_jax.training.saving import Saving
from orl_jax.training.state import FINITE, apply_gradients, checked, start

SGD = optax.sgd(0.5)


class Nothing:
    """Training data without data."""

    bad_videos, wait_seconds = 0, 0.0

    def __next__(self):
        return {}

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def merge_states(self, states):
        return states[0]


@jax.jit
def update(state, loss, gradient):
    after = apply_gradients(state, {"w": gradient}, SGD)
    return checked(state, after._replace(step=state.step + 1), {"loss": loss})


def run(workdir, losses=(), gradients=(), size=1, keep=2, name="sft", base="", validate=None):
    """The parameter after six steps, whose losses and gradients are 1 where not given."""

    def step(state, batch, metrics):
        number = int(state.step)
        loss, gradient = (
            jnp.float32(values[number] if number < len(values) else 1.0)
            for values in (losses, gradients)
        )
        return update(state, loss, jnp.full(size, gradient))

    begin = start({"w": jnp.zeros(size)}, SGD, 0)
    stage = loop.Stage(name, step, validate, steps=6, base=base, validate_every=2)
    saving = Saving({}, every_steps=1, keep=keep)
    return loop.run(stage, saving, str(workdir), begin, Nothing()).trained["w"]


def newest(workdir, stage="sft"):
    with Checkpoints(str(workdir), stage) as checkpoints:
        state = checkpoints.restore()[0]
    return int(state["step"]), state["trained"]["w"]


@pytest.mark.parametrize(
    "values",
    [
        {"losses": (1, 1, 1, math.nan)},
        {"gradients": (1, 1, 1, math.inf)},
        {"gradients": (1, 1, 1, 3e38)},  # finite, but not the parameter after it
    ],
)
def test_what_is_not_finite_stops_at_once_and_is_not_saved(tmp_path, values):
    values.setdefault("gradients", (1, 1, 1, 1))
    if values["gradients"][3] == 3e38:
        values["gradients"] = (-3e38, -3e38, -3e38, 3e38)
    with pytest.raises(TrainingHalted, match=r"newest checkpoint is of step \d.*sft.learning_rate"):
        run(tmp_path, **values)
    step, w = newest(tmp_path)
    assert np.isfinite(w).all() and step <= 3
    assert run(tmp_path).shape == (1,)  # the same data, mended: it resumes from there
    assert newest(tmp_path)[0] == 6


def test_a_step_is_taken_whole_or_not_at_all():
    state = start({"w": jnp.arange(3.0)}, optax.adam(0.1), 0, with_reference=True)
    after = state._replace(step=state.step + 1, trained={"w": jnp.array([1.0, jnp.nan, 2.0])})
    kept, metrics = checked(state, after, {"loss": jnp.float32(1)})
    assert not metrics[FINITE]
    jax.tree.map(np.testing.assert_array_equal, kept, state)
    after = after._replace(trained={"w": jnp.ones(3)})
    taken, metrics = checked(state, after, {"loss": jnp.float32(1)})
    assert metrics[FINITE] and int(taken.step) == 1
    jax.tree.map(np.testing.assert_array_equal, taken, after)


def test_a_full_disk_ends_the_run_with_the_newest_checkpoint_intact(tmp_path, caplog):
    size, before = 400_000, resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).normal(size=size).astype(np.float32)
    with pytest.raises(TrainingHalted):
        run(tmp_path, losses=(1, 1, math.nan), gradients=(noise, noise), size=size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(Failure, match=r"could not be written.*intact one is of step 2"):
            run(tmp_path, gradients=(noise,) * 6, size=size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert newest(tmp_path)[0] == 2
    run(tmp_path, gradients=(noise,) * 6, size=size)
    assert newest(tmp_path)[0] == 6
    assert not list((tmp_path / "checkpoints" / "sft").glob("*tmp*"))


def test_what_a_killed_save_left_is_deleted(tmp_path):
    left = tmp_path / "checkpoints" / "sft" / "3.orbax-checkpoint-tmp"
    (left / "state").mkdir(parents=True)
    run(tmp_path)
    assert not left.exists() and newest(tmp_path)[0] == 6


def test_a_second_run_in_a_workdir_is_told_who_uses_it(tmp_path):
    with Lock(tmp_path):
        with pytest.raises(UserError, match=r"in use by process \d+ on .* since .*--workdir"):
            run(tmp_path)
        assert not (tmp_path / "metrics.jsonl").exists()
    run(tmp_path)  # and after it, or its death:
    code = "import os, sys; from orl_jax.run.lock import Lock; x = Lock(sys.argv[1]); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == 9
    run(tmp_path, name="rl")  # stages of one workdir run one after the other


def test_a_base_is_pinned(tmp_path):
    run(tmp_path)
    run(tmp_path / "other", base="../checkpoints/sft/6", name="rl")
    assert "rl" in (tmp_path / "checkpoints/sft/6/pinned.json").read_text()


def test_a_validation_that_a_stop_cuts_off_is_made_up_for(tmp_path):
    steps = []

    def validate(state):
        steps.append(int(state.step))
        if steps == [0, 2]:
            raise StopRequested(15)
        return {"validation/accuracy": 0.5}

    with pytest.raises(StopRequested):
        run(tmp_path, validate=validate)
    assert newest(tmp_path)[0] == 2
    run(tmp_path, validate=validate)
    assert steps == [0, 2, 2, 4, 6]
    run(tmp_path, validate=validate)
    assert steps == [0, 2, 2, 4, 6]


def test_each_stage_ends_with_one_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_sft.py", "--config=c.py:tiny", "--workdir=w"])
    caplog.set_level("INFO")
    for _ in range(2):
        run(tmp_path, validate=lambda state: {"validation/accuracy": 0.5})
    first, second = (r.message for r in caplog.records if "validation accuracy" in r.message)
    line = r"sft is trained: steps 1 to 6, \d+ s in all; validation accuracy 50.0%; checkpoint"
    assert re.match(line, first)
    assert first.endswith(f"train_rl.py --config=c.py:tiny --workdir={tmp_path}")
    assert second.startswith("sft is finished at step 6; a larger sft.steps continues it; valid")
    assert f"checkpoint {tmp_path}/checkpoints/sft;" in first

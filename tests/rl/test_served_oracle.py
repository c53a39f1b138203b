"""RL from a served Oracle: where it fails, training waits, stops before the update, and resumes."""

import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from fault_server import by_length, served

from orl_jax.rl import stage as rl
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.config import to_json
from orl_jax.run.errors import TrainingHalted
from orl_jax.run.metrics import read_metrics

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def settings(run):
    """RL of four steps from the tiny run's SFT, with a judge at an address."""
    config, workdir = run

    def settings(address, cache):
        out = config.copy_and_resolve_references().unlock()
        out.rl.update(init_from=f"{workdir}/checkpoints/sft", steps=4, validate_every=0)
        out.oracle.update(name="served", halt_above=0.5, pause_seconds=0.0)
        out.oracle.served.update(address=address, model="judge", attempts=1, cache=str(cache))
        return out.lock()

    return settings


def test_it_stops_before_the_update_and_goes_on_without_asking_twice(settings, tmp_path):
    down = []

    def reply(body, wire):
        wire.send(503) if down else by_length(body, wire)

    def one_more(body, wire):
        reply(body, wire)
        if len(bodies) == 8:  # of four prompts a step: all of two steps, unless answers are equal
            down.append(True)

    with served(reply) as (address, _):
        rl.train(settings(address, tmp_path / "a"), str(tmp_path / "whole"))
    down.clear()
    with served(one_more) as (address, bodies):
        config = settings(address, tmp_path / "b")
        with pytest.raises(TrainingHalted, match="of the groups have no ranking .*status 503"):
            rl.train(config, str(tmp_path / "halted"))
        with Checkpoints(str(tmp_path / "halted"), "rl") as checkpoints:
            state, extra = checkpoints.restore()
        step = int(state["step"])
        assert 1 <= step < 4 and extra["data"]["position"] == 4 * step
        down.clear()
        asked = len(bodies)
        rl.train(config, str(tmp_path / "halted"))
        assert len(bodies) > asked
    states = []
    for name in ("whole", "halted"):
        with Checkpoints(str(tmp_path / name), "rl") as checkpoints:
            states.append(checkpoints.restore()[0])
    jax.tree.map(np.testing.assert_array_equal, *states)
    rows = read_metrics(str(tmp_path / "halted"), "rl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["oracle/valid_fraction"] == 1.0


def test_what_is_known_is_not_asked_again(settings, tmp_path):
    with served(by_length) as (address, bodies):
        config = settings(address, tmp_path / "cache")
        rl.train(config, str(tmp_path / "first"))
        asked = len(bodies)
        assert asked > 0
        rl.train(config, str(tmp_path / "second"))
        assert len(bodies) == asked
    rows = read_metrics(str(tmp_path / "second"), "rl")
    assert [row["oracle/cache_hit_fraction"] for row in rows] == [1.0] * 4


KILLER = pathlib.Path(__file__).with_name("kill_between.py")


@pytest.mark.parametrize("lag", [0, 1])
def test_killed_between_the_answer_and_the_update_it_asks_nothing_twice(settings, tmp_path, lag):
    def train(config, workdir, step=-1):
        path = tmp_path / "config.json"
        path.write_text(to_json(config))
        command = [sys.executable, KILLER, path, tmp_path / workdir, str(step)]
        return subprocess.run(command, timeout=300).returncode

    def config_of(address, cache):
        config = settings(address, tmp_path / cache).copy_and_resolve_references().unlock()
        config.checkpoint.every_steps = 1
        config.oracle.lag = lag
        return config

    with served(by_length) as (address, bodies):
        assert train(config_of(address, "a"), "whole") == 0
        asked = len(bodies)
        bodies.clear()
        assert train(config_of(address, "b"), "killed", step=2) == -signal.SIGKILL
        assert 0 < len(bodies) <= asked
        assert train(config_of(address, "b"), "killed") == 0
        # Beside lag the next step's four questions may have been on their way when it died.
        assert asked <= len(bodies) <= asked + 4 * lag
    states = []
    for name in ("whole", "killed"):
        with Checkpoints(str(tmp_path / name), "rl") as checkpoints:
            states.append(checkpoints.restore(4)[0])
    jax.tree.map(np.testing.assert_array_equal, *states)

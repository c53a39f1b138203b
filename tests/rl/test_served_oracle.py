"""RL from a served Oracle: where it fails, training waits, stops before the update, and resumes."""

import contextlib
import functools
import pathlib
import signal
import subprocess
import sys
from typing import NamedTuple

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

    def settings(address, cache, lag=0):
        out = config.copy_and_resolve_references().unlock()
        out.rl.update(init_from=f"{workdir}/checkpoints/sft", steps=4, validate_every=0)
        out.oracle.update(name="served", halt_above=0.5, pause_seconds=0.0, lag=lag)
        out.oracle.served.update(address=address, model="judge", attempts=1, cache=str(cache))
        out.checkpoint.every_steps = 1
        return out.lock()

    return settings


class Undisturbed(NamedTuple):
    """A whole run: its judge, which still answers, the questions so far, and its folders."""

    address: str
    bodies: list
    asked: int
    cache: pathlib.Path
    workdir: pathlib.Path


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    """Of a lag: the run that nothing disturbs, trained once."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def undisturbed(lag=0):
            address, bodies = stack.enter_context(served(by_length))
            folder = tmp_path_factory.mktemp("undisturbed")
            rl.train(settings(address, folder / "cache", lag), str(folder / "run"))
            return Undisturbed(address, bodies, len(bodies), folder / "cache", folder / "run")

        yield undisturbed


def assert_same(one, other):
    """Both runs end in the same state."""
    states = []
    for workdir in (one, other):
        with Checkpoints(str(workdir), "rl") as checkpoints:
            states.append(checkpoints.restore(4)[0])
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_it_stops_before_the_update_and_goes_on_without_asking_twice(
    settings, undisturbed, tmp_path
):
    down, workdir = [], tmp_path / "halted"

    def one_more(body, wire):
        wire.send(503) if down else by_length(body, wire)
        if len(bodies) == 8:  # of four prompts a step: all of two steps, unless answers are equal
            down.append(True)

    with served(one_more) as (address, bodies):
        config = settings(address, tmp_path / "cache")
        with pytest.raises(TrainingHalted, match="of the groups have no ranking .*status 503"):
            rl.train(config, str(workdir))
        with Checkpoints(str(workdir), "rl") as checkpoints:
            state, extra = checkpoints.restore()
        step = int(state["step"])
        assert 1 <= step < 4 and extra["data"]["position"] == 4 * step
        down.clear()
        asked = len(bodies)
        rl.train(config, str(workdir))
        assert len(bodies) > asked
    assert_same(undisturbed().workdir, workdir)
    rows = read_metrics(str(workdir), "rl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["oracle/valid_fraction"] == 1.0


def test_what_is_known_is_not_asked_again(settings, undisturbed, tmp_path):
    first = undisturbed()
    assert first.asked > 0
    rl.train(settings(first.address, first.cache), str(tmp_path))
    assert len(first.bodies) == first.asked
    rows = read_metrics(str(tmp_path), "rl")
    assert [row["oracle/cache_hit_fraction"] for row in rows] == [1.0] * 4


KILLER = pathlib.Path(__file__).with_name("kill_between.py")


@pytest.mark.parametrize("lag", [0, 1])
def test_killed_between_the_answer_and_the_update_it_asks_nothing_twice(
    settings, undisturbed, tmp_path, lag
):
    asked, workdir = undisturbed(lag).asked, tmp_path / "killed"
    with served(by_length) as (address, bodies):
        config = settings(address, tmp_path / "cache", lag)
        (tmp_path / "config.json").write_text(to_json(config))
        command = [sys.executable, KILLER, tmp_path / "config.json", workdir, "2"]
        assert subprocess.run(command, timeout=300).returncode == -signal.SIGKILL
        assert 0 < len(bodies) <= asked
        rl.train(config, str(workdir))
        # Beside lag the next step's four questions may have been on their way when it died.
        assert asked <= len(bodies) <= asked + 4 * lag
    assert_same(undisturbed(lag).workdir, workdir)

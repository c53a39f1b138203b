"""Work while the Oracle is asked: what `oracle.overlap` and `oracle.lag` may change."""

import os
import signal
import threading
import time

import jax
import numpy as np
import pytest

from orl_jax.models import assembly as assemblies
from orl_jax.oracles import ORACLES, Ranking, ReferenceOracle
from orl_jax.rl import stage as rl
from orl_jax.rl.asking import Asker, AskingSettings
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.errors import TrainingHalted, UserError
from orl_jax.run.metrics import MetricsWriter, read_metrics
from orl_jax.run.stop import StopRequested

pytestmark = pytest.mark.heavy


def changed(run, **oracle):
    """Four steps from the tiny run's SFT, without validation, saved after each."""
    copy = run[0].copy_and_resolve_references().unlock()
    copy.rl.update(init_from=f"{run[1]}/checkpoints/sft", validate_every=0, warmup_steps=0)
    copy.checkpoint.update(every_steps=1, keep=9)
    copy.oracle.update(oracle)
    return copy


def saved(workdir, step=None):
    with Checkpoints(workdir, "rl") as checkpoints:
        return checkpoints.restore(step)


def assert_same(one, other, **tolerance):
    check = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    jax.tree.map(lambda a, b: check(a, b, **tolerance), one, other)


def test_overlap_changes_nothing(run, tmp_path):
    one, other = str(tmp_path / "serial"), str(tmp_path / "overlap")
    rl.train(changed(run), one)
    rl.train(changed(run, overlap=True), other)
    assert_same(saved(one)[0], saved(other)[0])
    assert saved(one)[1]["data"] == saved(other)[1]["data"]


@pytest.fixture(scope="module")
def lagged(run, tmp_path_factory):
    """The workdir of a run with lag 1 that nothing disturbs; not to be changed."""
    workdir = str(tmp_path_factory.mktemp("lagged"))
    rl.train(changed(run, lag=1), workdir)
    return workdir


def by_hand(config, workdir, steps):
    """The trained parameters after each step of lag 1, from the serial functions only."""
    assembly = assemblies.assemble(config, lora=True)
    pretrained = assemblies.load_params(config.rl.init_from, assembly.layout)
    params = assemblies.initial_params(assembly, config.seed, pretrained)
    items = rl.open_split(config.data.folder, "train")
    learner = rl.make_learner(
        config, assembly, params, Asker(ReferenceOracle()), workdir, len(items)
    )
    policy, frozen, banned = learner.policy, learner.policy.frozen, learner.policy.banned
    states, found = [learner.start()], []
    with rl.make_loader(config, assembly, items, rl.FrameCache(16)) as batches:
        for step in range(steps):
            # before update `step`, by the policy before update `step - 1`
            sampler = jax.tree.map(np.array, states[max(step - 1, 0)])
            pending = learner._take(sampler, step, next(batches))
            rollout = learner._judged(pending, pending.answer().rankings)
            old = policy.score(sampler, frozen, banned, rollout)
            batch = rollout._replace(old_log_prob=old)
            state = jax.tree.map(lambda x: jax.device_put(np.array(x)), states[-1])
            state, _, _ = policy.update(state, frozen, banned, batch)
            states.append(jax.tree.map(np.array, state))
            found.append(states[-1].trained)
    return found


def test_lag_trains_on_answers_one_update_old_with_their_own_probabilities(run, lagged, tmp_path):
    expected = by_hand(changed(run), str(tmp_path), 4)
    for step in range(4):
        assert_same(saved(lagged, step + 1)[0]["trained"], expected[step], rtol=1e-5, atol=1e-7)
    rows = [row for row in read_metrics(lagged, "rl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["ratio/max"] == pytest.approx(1, abs=1e-5)  # its own policy's answers
    assert all(abs(row["ratio/max"] - 1) > 1e-4 for row in rows[1:])
    # the scores are of the policy that sampled, whatever came after
    assert all(row["sampler/logprob_gap_max"] < 1e-4 for row in rows)


class Stopping:
    """The reference Oracle; the process gets SIGTERM in the given call."""

    def __init__(self, after):
        self.calls, self.after = 0, after

    def rank(self, requests):
        self.calls += 1
        if self.calls == self.after:
            os.kill(os.getpid(), signal.SIGTERM)
        return ReferenceOracle().rank(requests)


def test_a_stopped_run_goes_on_to_the_same_parameters(run, lagged, tmp_path, monkeypatch):
    whole, broken = lagged, str(tmp_path / "broken")
    monkeypatch.setitem(ORACLES, "reference", lambda section: Stopping(after=2))
    with pytest.raises(StopRequested):
        rl.train(changed(run, lag=1), broken)
    step = int(saved(broken)[0]["step"])
    assert 1 <= step < 4 and int(saved(broken)[0]["ahead"]["step"]) == step
    monkeypatch.undo()
    rl.train(changed(run, lag=1), broken)
    for state in (1, 2, 3, 4):
        assert_same(saved(whole, state)[0], saved(broken, state)[0])


class Failing:
    """Gives no order while `down`."""

    down = True

    def rank(self, requests):
        if self.down:
            return [Ranking.invalid("status 503", request.size) for request in requests]
        return ReferenceOracle().rank(requests)


def test_a_failing_oracle_halts_before_the_update_and_is_asked_again(
    run, lagged, tmp_path, monkeypatch
):
    whole, broken = lagged, str(tmp_path / "broken")
    keys = {"lag": 1, "halt_above": 0.5, "pause_seconds": 0.0}
    oracle = Failing()
    oracle.down = False
    calls = []

    class Counting:
        def rank(self, requests):
            calls.append(len(requests))
            # the third step's groups, the fourth's in the background, the third's once more
            oracle.down = len(calls) in (3, 4, 5)
            return oracle.rank(requests)

    monkeypatch.setitem(ORACLES, "reference", lambda section: Counting())
    with pytest.raises(TrainingHalted, match="status 503.*halt_above"):
        rl.train(changed(run, **keys), broken)
    assert int(saved(broken)[0]["step"]) == int(saved(broken)[0]["ahead"]["step"])
    rl.train(changed(run, **keys), broken)
    assert_same(saved(whole)[0], saved(broken)[0])


class Slow:
    """Takes its time, and notes when it was asked and by whom."""

    seconds = 0.3

    def __init__(self):
        self.asked, self.threads = [], set()

    def rank(self, requests):
        begin = time.monotonic()
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        self.asked.append((begin, time.monotonic()))
        return ReferenceOracle().rank(requests)


def test_a_slow_oracle_is_asked_beside_the_rollout(run, tmp_path, monkeypatch):
    oracle = Slow()
    monkeypatch.setitem(ORACLES, "reference", lambda section: oracle)
    workdir = str(tmp_path / "slow")
    rl.train(changed(run, lag=1), workdir)
    assert len(oracle.asked) == 4  # nothing is sampled beyond the last step
    assert "MainThread" not in oracle.threads
    rows = [row for row in read_metrics(workdir, "rl") if "loss" in row]
    # the second step's question was under way while the first's update compiled
    assert rows[1]["time/oracle"] < oracle.seconds < rows[1]["oracle/seconds"]


def test_ppo_with_lag(run, tmp_path):
    workdir = str(tmp_path / "ppo")
    config = changed(run, lag=1)
    config.rl.update(algorithm="ppo", steps=3)
    rl.train(config, workdir)
    rows = [row for row in read_metrics(workdir, "rl") if "loss" in row]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert all(row["sampler/logprob_gap_max"] < 1e-4 for row in rows)


def test_nothing_compiles_after_the_second_step(run, tmp_path):
    workdir, config = str(tmp_path / "compiles"), changed(run, lag=1)
    assembly = assemblies.assemble(config, lora=True)
    pretrained = assemblies.load_params(config.rl.init_from, assembly.layout)
    params = assemblies.initial_params(assembly, 0, pretrained)
    items = rl.open_split(config.data.folder, "train")
    with (
        Asker(ReferenceOracle(), AskingSettings.of(config.oracle)) as asker,
        rl.make_loader(config, assembly, items, rl.FrameCache(16)) as batches,
        MetricsWriter(workdir, "rl") as metrics,
    ):
        learner = rl.make_learner(config, assembly, params, asker, workdir, 99)
        policy = learner.policy
        functions = (policy.encode, policy.rollout, policy.score, policy.update)
        before = [f._cache_size() for f in functions]  # by other tests of this process
        ahead, state = rl.LookAhead(batches), learner.start()
        for _ in range(4):
            state, _ = learner.rl_step(state, next(ahead), metrics, ahead.peek)
    after = [f._cache_size() for f in functions]
    assert all(0 < size <= start + 1 for start, size in zip(before, after, strict=True))


def test_an_oracle_on_the_device_is_not_asked_beside_other_processes(run, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    config = changed(run, name="ranker", checkpoint="x", lag=1)
    with pytest.raises(UserError, match="oracle.name is ranker.*lag=0"):
        rl.make_asker(config, rl.FrameCache(0))

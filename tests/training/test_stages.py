"""The stages end to end on the tiny config: learning, stopping, resuming, evaluating."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest
from tiny_run import CONFIG

import scripts
from orl_jax.models import assembly as assemblies
from orl_jax.oracles import ReferenceOracle
from orl_jax.rl import stage as rl
from orl_jax.rl.asking import Asker
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.errors import Failure, UserError
from orl_jax.run.metrics import MetricsWriter, read_metrics
from orl_jax.run.stop import StopRequested
from orl_jax.training import sft

NAMES = """loss policy_loss kl entropy grad_norm learning_rate ratio/mean ratio/max
clip/low_fraction clip/high_fraction advantage/abs_mean advantage/max advantage/min penalty/mean
penalty/max rank/kendall_tau rank/ndcg rank/tie_fraction group/no_signal_fraction
oracle/valid_fraction oracle/seconds oracle/retries oracle/cache_hit_fraction response/length_mean
response/truncated_fraction response/distinct_fraction sampler/logprob_gap_mean
sampler/logprob_gap_max data/bad_videos data/wait_seconds time/data time/rollout time/oracle
time/score time/update tokens_per_second""".split()


class StoppingOracle(ReferenceOracle):
    """Sends this process SIGTERM during its second call."""

    calls = 0

    def rank(self, requests):
        self.calls += 1
        if self.calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().rank(requests)


@pytest.fixture
def workdir(run, tmp_path):
    """A copy of the run as it stands after SFT."""
    shutil.copytree(run[1], tmp_path / "run")
    return str(tmp_path / "run")


def saved(workdir, stage):
    with Checkpoints(workdir, stage) as checkpoints:
        return checkpoints.restore()


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_sft_lowers_the_loss(run):
    losses = [row["loss"] for row in read_metrics(run[1], "sft") if "loss" in row]
    assert losses[-1] < losses[0]


def test_rl_leaves_what_the_contract_names(run, after_rl):
    config, workdir = run[0], after_rl
    rows = [row for row in read_metrics(workdir, "rl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert set(NAMES) <= set(row)
        assert row["sampler/logprob_gap_max"] < 1e-4
        assert row["advantage/oracle_correlation"] >= 0
    table = pathlib.Path(workdir, "rollouts", "1.jsonl").read_text().splitlines()
    assert len(table) == config.rl.batch_size
    first = json.loads(table[0])
    assert len(first["responses"]) == config.rl.group_size == len(first["advantages"])
    assert sum(first["advantages"]) == pytest.approx(0, abs=1e-5)
    validation = [row for row in read_metrics(workdir, "rl") if "validation/accuracy" in row]
    assert [row["step"] for row in validation] == [0, 2, 4]


def test_only_adapters_change_and_the_reference_stays(after_rl):
    state, workdir = saved(after_rl, "rl")[0], after_rl
    paths = jax.tree_util.tree_flatten_with_path(state["trained"])[0]
    assert paths and all("lora_" in jax.tree_util.keystr(path) for path, _ in paths)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state["trained"], state["reference"])
    assert any(jax.tree.leaves(moved))
    before = assemblies.load_params(f"{workdir}/checkpoints/sft")
    after = assemblies.load_params(f"{workdir}/checkpoints/rl")
    assert_same(before["language"]["embedding"], after["language"]["embedding"])
    assert_same(before["adapter"], after["adapter"])


def test_rl_resumes_bit_for_bit_after_sigterm(run, after_rl, workdir, monkeypatch):
    config, _ = run
    whole = after_rl
    monkeypatch.setattr(rl, "make_oracle", lambda *_: StoppingOracle())
    with pytest.raises(StopRequested) as stop:
        rl.train(config, workdir)
    assert stop.value.signum == signal.SIGTERM
    assert int(saved(workdir, "rl")[0]["step"]) == 2
    monkeypatch.undo()
    rl.train(config, workdir)
    (state, extra), (other, other_extra) = saved(workdir, "rl"), saved(whole, "rl")
    assert_same(state, other)
    assert extra["data"] == other_extra["data"]
    steps = [row["step"] for row in read_metrics(workdir, "rl") if "loss" in row]
    assert steps == [1, 2, 3, 4]


def test_a_run_of_other_settings_is_not_gone_on_with(run, workdir):
    config, _ = run
    changed = config.copy_and_resolve_references().unlock()
    changed.sft.update(steps=config.sft.steps + 1, log_every=2)  # these may change
    state = sft.train(changed, workdir)
    assert int(state.step) == config.sft.steps + 1
    changed.sft.learning_rate = 0.5
    with pytest.raises(UserError, match=r"sft.learning_rate=0.003, the config says 0.5; choose an"):
        sft.train(changed, workdir)
    written = json.loads(pathlib.Path(workdir, "config.json").read_text())
    assert written["sft"]["learning_rate"] == 0.003  # the file still tells what was done


def test_sft_resumes_bit_for_bit(run, tmp_path):
    config, whole = run
    workdir = str(tmp_path / "again")
    shorter = config.copy_and_resolve_references()
    with shorter.unlocked():
        shorter.sft.seconds = 1e-9  # out of time before the first step
    sft.train(shorter, workdir)
    assert int(saved(workdir, "sft")[0]["step"]) == 0
    sft.train(config, workdir)
    assert_same(saved(workdir, "sft")[0], saved(whole, "sft")[0])


def learner_and_batches(config, workdir):
    assembly = assemblies.assemble(config, lora=True)
    pretrained = assemblies.load_params(f"{workdir}/checkpoints/sft")
    params = assemblies.initial_params(assembly, 0, pretrained)
    items = rl.open_split(config.data.folder, "train")
    asker = Asker(ReferenceOracle())
    learner = rl.make_learner(config, assembly, params, asker, workdir, len(items))
    cache = rl.FrameCache(0)
    return learner, rl.make_loader(config, assembly, items, cache)


def test_nothing_compiles_after_the_second_step(run, workdir):
    config, _ = run
    learner, batches = learner_and_batches(config, workdir)
    state, policy = learner.start(), learner.policy

    def compiled():  # also for other tests of this process
        return [f._cache_size() for f in (policy.encode, policy.rollout, policy.update)]

    before = compiled()
    with batches, MetricsWriter(workdir, "rl") as metrics:
        for _ in range(2):
            state, _ = learner.rl_step(state, next(batches), metrics)
        after_two = compiled()
        for _ in range(3):
            state, _ = learner.rl_step(state, next(batches), metrics)
    assert all(after - start <= 1 for start, after in zip(before, after_two, strict=True))
    assert compiled() == after_two


def test_every_step_samples_anew(run, workdir):
    config, _ = run
    learner, batches = learner_and_batches(config, workdir)
    state = learner.start()
    with batches:
        batch = next(batches)
        first, again, later = (
            learner._take(state, n, batch).batch.responses.ids for n in (0, 0, 1)
        )
    np.testing.assert_array_equal(first, again)
    assert (first != later).any()


def test_the_adapter_can_be_trained_too(run, workdir):
    config, _ = run
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.rl.trainable = (("(adapter/.*|.*/lora_[ab])", "train"), (".*", "freeze"))
        changed.rl.steps = 2
    state = rl.train(changed, workdir)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.trained, state.reference)
    assert any(jax.tree.leaves(moved["adapter"]))


def test_reference_is_refreshed_each_epoch(run, workdir):
    config, _ = run
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.rl.reference_refresh = "epoch"
    learner, batches = learner_and_batches(changed, workdir)
    batches.close()
    state = learner.start()
    state = state._replace(trained=jax.tree.map(lambda x: x + 1, state.trained))
    learner.settings = dataclasses.replace(learner.settings, items=8)  # two steps of four
    assert_same(learner._refresh_reference(state, 1).reference, state.reference)
    assert_same(learner._refresh_reference(state, 2).reference, state.trained)


def test_evaluation_restores_a_checkpoint_on_its_own(run, tmp_path):
    config, workdir = run
    scripts.run(
        "evaluate", f"--config={CONFIG}:tiny", f"--config.data.folder={config.data.folder}",
        f"--checkpoint={workdir}/checkpoints/sft", f"--workdir={tmp_path}",
    )  # fmt: skip
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["splits"]) == {"test", "composition"}
    assert results["n"] == sum(c["n"] for c in results["categories"].values())
    lines = (tmp_path / "predictions" / "sft_test.jsonl").read_text().splitlines()
    assert len(lines) == results["n"]


def test_a_failing_oracle_trains_nothing_and_the_run_has_failed(run, workdir, monkeypatch):
    class Broken:
        def rank(self, requests):
            raise TimeoutError("no answer")

    config, _ = run
    monkeypatch.setattr(rl, "make_oracle", lambda *_: Broken())
    with pytest.raises(Failure, match="nothing was learnt: .* ranked no group in any of 4 steps"):
        rl.train(config, workdir)
    rows = [row for row in read_metrics(workdir, "rl") if "loss" in row]
    assert all(row["oracle/valid_fraction"] == 0 and row["loss"] == 0 for row in rows)
    state = saved(workdir, "rl")[0]
    assert_same(state["trained"], state["reference"])


def test_missing_pieces_are_named(run, tmp_path):
    config, workdir = run
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.rl.init_from = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere"):
        rl.train(changed, workdir)
    with changed.unlocked():
        changed.data.folder = str(tmp_path / "nodata")
    with pytest.raises(UserError, match="nodata"):
        rl.train(changed, workdir)

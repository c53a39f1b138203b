"""Steps of the tiny run under the profiler: the trace, its stages, and the files written."""

import json
import pathlib

import pytest
from tiny_run import CONFIG

import scripts
from orl_jax.performance.profiling import recording
from orl_jax.performance.profiling.scopes import PARTS
from orl_jax.performance.profiling.summary import OUTSIDE, summarise
from orl_jax.performance.profiling.trace import read
from orl_jax.run.errors import UserError

pytestmark = pytest.mark.heavy

STAGES = {"data", "encode", "rollout", "oracle", "score", "update"}


@pytest.fixture(scope="module")
def recorded(run, tmp_path_factory):
    """The workdir and the recording of two steps."""
    config, trained = run
    workdir = tmp_path_factory.mktemp("profiled")
    base = f"{trained}/checkpoints/sft"
    return workdir, recording.record(config, str(workdir), base=base, steps=2, warmup=2)


def test_stages_add_up_to_steps_without_compilations(recorded):
    _, (path, compiled, sources) = recorded
    summary = summarise(read(path), sources, compiled)
    assert [step.step for step in summary.steps] == ["3", "4"]
    assert summary.compiled == []
    for step in summary.steps:
        times = {stage.name: stage.ms for stage in step.stages}
        assert set(times) == STAGES | {OUTSIDE}
        assert sum(times.values()) == pytest.approx(step.ms)
        assert times[OUTSIDE] < step.ms / 2
        assert 0 < step.busy_ms <= step.ms
    json.loads(summary.to_json())


def test_every_part_is_named(recorded):
    _, (path, _, sources) = recorded
    parts = {work.name for work in summarise(read(path), sources).parts}
    assert set(PARTS.values()) <= parts


def test_only_the_traces_folder_is_written(recorded):
    workdir, _ = recorded
    assert [path.name for path in workdir.iterdir()] == [recording.FOLDER]
    assert not list(workdir.rglob("metrics.jsonl")) + list(workdir.rglob("checkpoints"))


def test_compilations_are_named_in_the_scripts_summary(run, tmp_path, capsys):
    config, trained = run
    scripts.run(
        "profile_step", f"--config={CONFIG}:tiny", f"--config.data.folder={config.data.folder}",
        f"--workdir={tmp_path}", f"--checkpoint={trained}/checkpoints/sft", "--steps=1",
        "--warmup=0",
    )  # fmt: skip
    summary = json.loads((tmp_path / "trace" / "summary.json").read_text())
    assert any("step" in name for name in summary["compiled"])
    assert capsys.readouterr().out == (tmp_path / "trace" / "summary.md").read_text() + "\n"


def test_refusals(run, tmp_path):
    config, _ = run
    with pytest.raises(UserError, match="--steps=0"):
        recording.record(config, str(tmp_path), steps=0, warmup=0)
    missing = str(pathlib.Path(tmp_path) / "checkpoints" / "sft")
    with pytest.raises(UserError, match=f"there is no checkpoint {missing}"):
        recording.record(config, str(tmp_path), steps=1, warmup=0)

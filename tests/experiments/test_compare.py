"""A comparison from end to end, on the tiny run, in worker processes."""

import json
import pathlib
import re
import runpy

import pytest

import scripts
from orl_jax.experiments.comparison import compare
from orl_jax.run.errors import Failure, UserError

pytestmark = pytest.mark.heavy

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "compare.py"


def test_runs_are_compared_and_not_run_again(run, tmp_path, capsys):
    config, workdir = run
    settings = runpy.run_path(str(CONFIG))["get_config"]("tiny").unlock()
    settings.data.folder = config.data.folder
    settings.compare.start = f"{workdir}/checkpoints/sft"
    bad = ("fails", "rl", (("oracle.name", "reward"),))  # names no checkpoint
    settings.compare.update(arms=(settings.compare.arms[0], bad), seeds=(0,))
    with pytest.raises(Failure, match="1 of 2 runs failed.*oracle.checkpoint is empty"):
        compare.run(settings, str(tmp_path))
    found = json.loads((tmp_path / "results.json").read_text())
    assert list(found["arms"]) == ["signed 0"]
    assert found["arms"]["signed 0"]["queries"] == 24
    assert len(found["failed"]) == 1
    results = tmp_path / "runs" / "signed_0" / "seed0" / "result.json"
    before = results.stat().st_mtime_ns
    assert json.loads(results.read_text())["curves"]["validation/accuracy"][0][0] == 0
    for name in ("results.json", "table.md", "comparison.png", "config.json", "start.json"):
        assert (tmp_path / name).is_file(), name
    assert re.search(r"\| signed 0 \| +1 \|", capsys.readouterr().out)
    scripts.run(
        "compare", f"--config={CONFIG}:tiny", f"--workdir={tmp_path}",
        f"--config.data.folder={config.data.folder}", "--config.compare.seeds=(0,)",
        f"--config.compare.start={workdir}/checkpoints/sft",
        f"--config.compare.arms={settings.compare.arms[:1]!r}",
    )  # fmt: skip
    assert results.stat().st_mtime_ns == before


def test_a_start_that_is_missing_is_named(tmp_path):
    settings = runpy.run_path(str(CONFIG))["get_config"]("tiny").unlock()
    settings.compare.start = str(tmp_path / "nothing")
    with pytest.raises(UserError, match="nothing"):
        compare.run(settings, str(tmp_path / "out"))
    del settings["compare"]
    with pytest.raises(UserError, match="no section compare"):
        compare.run(settings, str(tmp_path / "out"))

"""The demo from its data to its report, on the tiny config."""

import json

import pytest
from tiny_run import CONFIG

import scripts

pytestmark = pytest.mark.heavy


def test_the_demo_leaves_results_and_a_report(tmp_path, capsys):
    workdir = tmp_path / "demo"
    scripts.run(
        "demo", f"--config={CONFIG}:tiny", f"--workdir={workdir}",
        f"--config.data.folder={tmp_path}/data",
    )  # fmt: skip
    results = json.loads((workdir / "results.json").read_text())
    for name in ("sft", "rl", "control"):
        assert set(results[name]["splits"]) == {"test", "composition"}
        assert 0 <= results[name]["accuracy"] <= 1
        assert (workdir / "predictions" / f"{name}_test.jsonl").is_file()
    stages = {"data", "vision", "sft", "rl", "control", "eval", "total"}
    assert set(results["seconds"]) == stages
    assert results["config"]["rl"]["steps"] == 4
    for stage in ("vision", "sft", "rl", "control/checkpoints/sft"):
        assert (workdir / ("" if "/" in stage else "checkpoints") / stage).is_dir()
    assert not (workdir / "compiled").exists()
    page = (workdir / "report.html").read_text()
    assert "<svg" in page or "<img" in page
    printed = capsys.readouterr().out
    assert str(workdir / "report.html") in printed
    assert "control" in printed.lower() or "more SFT" in printed

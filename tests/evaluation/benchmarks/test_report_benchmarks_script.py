"""scripts/report_benchmarks.py in a process of its own."""

import os
import pathlib
import subprocess
import sys

from evaluated import choice, write_evaluation

ROOT = pathlib.Path(__file__).parents[3]


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/report_benchmarks.py"), *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def test_it_prints_the_summary_and_where_the_files_are(tmp_path):
    sft = write_evaluation(tmp_path / "sft", [choice(k, "A", "AB"[k % 2]) for k in range(10)])
    rl = write_evaluation(tmp_path / "rl", [choice(k, "A", "A") for k in range(10)])
    out = tmp_path / "out"
    done = run(f"--evaluation=SFT={sft}", f"--evaluation=RL={rl}", f"--workdir={out}")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1][:6] == ["Video-MME", "test", "official", "SFT", "10*", "50.0"]
    assert lines[2][:6] == ["Video-MME", "test", "official", "RL", "10*", "100.0"]
    assert lines[2][8:9] == ["+50.0"] and lines[2][-3:] == ["42.4", "/", "36.2"]
    names = ["benchmarks.html", "benchmarks.md", "benchmarks.json"]
    assert [line[1] for line in lines[-3:]] == [str(out / name) for name in names]
    assert all((out / name).stat().st_size for name in names)

import json
import math
import pathlib
import resource
import struct
import subprocess
import sys

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from orl_jax.run import disk
from orl_jax.run.errors import UserError
from orl_jax.run.metrics import MetricsWriter, read_metrics


def written(workdir: pathlib.Path) -> str:
    return (workdir / "metrics.jsonl").read_text()


def events(workdir: pathlib.Path) -> list[Event]:
    """All TensorBoard events: each is length (8 bytes), checksum (4), event, checksum (4)."""
    found = []
    for file in sorted(workdir.glob("events.*")):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def test_a_row_with_stage_step_and_values_is_written_at_once(tmp_path: pathlib.Path) -> None:
    with MetricsWriter(str(tmp_path / "run"), "rl") as metrics:
        metrics.write(3, {"loss": 0.5, "ratio/mean": np.float32(1)})
        row = '{"stage": "rl", "step": 3, "loss": 0.5, "ratio/mean": 1.0}\n'
        assert written(tmp_path / "run") == row


def test_values_that_are_not_finite_are_null_and_read_as_nan(tmp_path: pathlib.Path) -> None:
    with MetricsWriter(str(tmp_path), "rl") as metrics:
        metrics.write(1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 2})
    row = json.loads(written(tmp_path), parse_constant=lambda name: pytest.fail(name))
    assert row == {"stage": "rl", "step": 1, "a": None, "b": None, "c": None, "d": 2.0}
    read = read_metrics(str(tmp_path))[0]
    assert all(math.isnan(read[name]) for name in "abc") and read["d"] == 2.0


def test_tensorboard_gets_scalars_and_histograms(tmp_path: pathlib.Path) -> None:
    with MetricsWriter(str(tmp_path), "sft") as metrics:
        metrics.write(7, {"loss": 0.25, "bad": math.inf})
        metrics.histogram(7, "advantage", np.array([[1.0, 2.0], [math.nan, 5.0]]))
        metrics.histogram(8, "nothing", [])
    values = {v.tag: (e.step, v) for e in events(tmp_path) for v in e.summary.value}
    assert set(values) == {"sft/loss", "sft/bad", "sft/advantage"}
    assert values["sft/loss"][0] == 7 and values["sft/loss"][1].simple_value == 0.25
    assert values["sft/bad"][1].simple_value == math.inf
    assert values["sft/advantage"][1].histo.num == 3 and values["sft/advantage"][1].histo.max == 5


def test_a_resumed_stage_drops_its_later_rows_only(tmp_path: pathlib.Path) -> None:
    for stage in ("sft", "rl"):
        with MetricsWriter(str(tmp_path), stage) as metrics:
            for step in range(4):
                metrics.write(step, {"x": step})
    with MetricsWriter(str(tmp_path), "rl", start_step=1) as metrics:
        metrics.write(2, {"x": 20})
    assert [row["step"] for row in read_metrics(str(tmp_path), "sft")] == [0, 1, 2, 3]
    assert [row["x"] for row in read_metrics(str(tmp_path), "rl")] == [0, 1, 20]
    MetricsWriter(str(tmp_path), "rl", start_step=0).close()
    assert read_metrics(str(tmp_path), "rl") == []
    assert len(read_metrics(str(tmp_path))) == 4
    assert not list(tmp_path.glob("*.partial"))


def test_null_survives_a_resume(tmp_path: pathlib.Path) -> None:
    with MetricsWriter(str(tmp_path), "rl") as metrics:
        metrics.write(1, {"a": math.nan})
    before = written(tmp_path)
    MetricsWriter(str(tmp_path), "rl", start_step=1).close()
    assert written(tmp_path) == before


def test_an_unfinished_line_is_left_out(tmp_path: pathlib.Path) -> None:
    with MetricsWriter(str(tmp_path), "rl") as metrics:
        metrics.write(1, {"a": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "rl", "st')
    assert len(read_metrics(str(tmp_path))) == 1
    with MetricsWriter(str(tmp_path), "rl", start_step=1) as metrics:
        metrics.write(2, {"a": 1})
    assert [row["step"] for row in read_metrics(str(tmp_path))] == [1, 2]


@pytest.mark.parametrize("line", ["{", "3", '{"step": 1}'])
def test_a_damaged_line_is_named(tmp_path: pathlib.Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"stage": "rl", "step": 1}}\n{line}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2"):
        read_metrics(str(tmp_path))


def test_no_file_no_rows(tmp_path: pathlib.Path) -> None:
    assert read_metrics(str(tmp_path)) == []


def test_no_jax_is_needed() -> None:
    script = "import sys, orl_jax.run.metrics; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_full_disk_is_an_error_with_the_file_s_name_and_nothing_hangs(tmp_path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match=r"File too large.*events\.") as error:
        with MetricsWriter(str(tmp_path), "rl") as metrics:
            metrics.write(1, {"loss": 1.0})
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
            try:
                for step in range(50):  # far more than any queue holds
                    metrics.histogram(step, "x", np.arange(20_000) ** 2)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert disk.is_trouble(error.value)
    assert "metrics" not in disk.line(error.value) and "File too large" in disk.line(error.value)
    assert len(read_metrics(str(tmp_path))) == 1


def test_a_row_that_does_not_fit_is_an_error_with_the_file_s_name(tmp_path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match=r"File too large.*metrics\.jsonl"):
        with MetricsWriter(str(tmp_path), "rl") as metrics:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            try:
                metrics.write(1, {f"value{number}": 0.0 for number in range(20)})
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

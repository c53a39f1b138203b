import json
import math

from orl_jax.report import record as record_module
from orl_jax.report.record import read_record, series


def test_it_reads_everything(example) -> None:
    record = read_record(example.workdir)
    assert record.config["rl"]["algorithm"] == "grpo_rank"
    assert record.rollout_steps() == list(range(1, 13))
    assert len(record.rollouts[3]) == 12
    assert sorted(record.predictions) == [
        f"{m}_{s}" for m in ("control", "rl", "sft") for s in ("composition", "test")
    ]
    assert record.control and record.unreadable == 0


def test_an_empty_folder_gives_an_empty_record(tmp_path) -> None:
    record = read_record(tmp_path)
    assert (record.results, record.config, record.rollouts) == ({}, {}, {})


def test_lines_cut_off_by_a_stop_are_skipped_and_counted(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"stage": "rl", "step": 1}\n[1]\n{"stage": "rl", "st')
    record = read_record(tmp_path)
    assert len(record.metrics) == 1 and record.unreadable == 2


def test_the_config_of_the_workdir_is_used_where_the_results_hold_none(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"seed": 3}))
    assert read_record(tmp_path).config == {"seed": 3}


def test_series_keeps_the_later_of_two_rows_and_turns_infinity_into_a_gap() -> None:
    rows = [
        {"stage": "rl", "step": 2, "kl": 9.0},
        {"stage": "rl", "step": 1, "kl": math.inf},
        {"stage": "sft", "step": 1, "kl": 7.0},
        {"stage": "rl", "step": 2, "kl": 0.5},
        {"stage": "rl", "step": 3, "kl": None},
    ]
    steps, values = series(rows, "rl", "kl")
    assert steps == [1.0, 2.0]
    assert math.isnan(values[0]) and values[1] == 0.5


def test_a_long_run_is_thinned_out_evenly(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(record_module, "MAX_ROLLOUT_STEPS", 3)
    (tmp_path / "rollouts").mkdir()
    for step in range(0, 100, 10):
        (tmp_path / f"rollouts/{step}.jsonl").write_text('{"step": 0}\n')
    assert read_record(tmp_path).rollout_steps() == [0, 40, 90]


def test_a_setting_is_read_at_its_place(tmp_path) -> None:
    config = {"rl": {"algorithm": "grpo", "advantage": {"form": "signed"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    record = read_record(tmp_path)
    assert record.setting("rl", "advantage", "form") == "signed"
    assert record.setting("rl", "grpo", "form") is None
    assert record.setting("rl", "algorithm", "form") is None

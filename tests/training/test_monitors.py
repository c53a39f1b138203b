"""Monitors on rows made by hand, and in the loop of a stage that only replays metrics."""

import json
import math
import os
import pathlib
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import optax
import pytest
from ml_collections import ConfigDict

from orl_jax.run import config as rules
from orl_jax.run.errors import TrainingHalted, UserError
from orl_jax.run.metrics import read_metrics
from orl_jax.run.stop import StopRequested
from orl_jax.training import loop
from orl_jax.training.limits import Limits
from orl_jax.training.monitors import ADVICE, CHECKS, NAMES, Alarm, Monitors
from orl_jax.training.saving import Saving
from orl_jax.training.state import start

DEMO = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "configs/demo.py"))
NO_SIGNAL, SIZE, VALID = "group/no_signal_fraction", "advantage/abs_mean", "oracle/valid_fraction"
LENGTH, DIRECTION = "response/length_mean", "advantage/oracle_correlation"
GAP, LEFT, COLOUR = "sampler/logprob_gap_mean", "validation/category/left", "validation/category/x"


def limits(**changes: Any) -> Limits:
    """The demo's thresholds with a window of two steps."""
    return Limits.of(ConfigDict(DEMO["monitors"]() | {"window": 2} | changes))


def alarms(rows: Iterable[dict[str, Any]], **changes: Any) -> list[Alarm]:
    """All alarms of rows at steps 1, 2, ..."""
    monitors = Monitors(limits(**changes))
    return [a for step, row in enumerate(rows, 1) for a in monitors.observe(step, row)]


def column(name: str, *values: float) -> list[dict[str, float]]:
    return [{name: value} for value in values]


def found(rows: Iterable[dict[str, Any]], **changes: Any) -> list[tuple[str, int, float, float]]:
    return [(a.name, a.step, round(a.value, 6), round(a.limit, 6)) for a in alarms(rows, **changes)]


def both(paid: float, paid_next: float, liked: float, liked_next: float) -> list[dict[str, float]]:
    """Two rows of the correlations with length: of the advantages, and of the Oracle's order."""
    return [
        {"advantage/length_correlation": paid, "oracle/length_correlation": liked},
        {"advantage/length_correlation": paid_next, "oracle/length_correlation": liked_next},
    ]


CASES = [
    # Rows, and what is said: monitor, step, value, limit. Means are over two steps.
    (column(NO_SIGNAL, 0.9, 0.9, 1.0), ("advantage_collapse", 3, 0.95, 0.9)),
    (column(SIZE, 0.01, 0.01, 0.006), ("advantage_collapse", 3, 0.008, 0.01)),
    ([{"advantage/max": 1.0, "advantage/min": -6.0}], ("advantage_explosion", 1, 6.0, 5.0)),
    ([{"advantage/max": 5.5}], ("advantage_explosion", 1, 5.5, 5.0)),
    (column("kl", 0.1, 0.9, 0.3), ("policy_drift", 3, 0.6, 0.5)),
    (column("kl", math.nan), ("policy_drift", 1, math.inf, 0.5)),
    (column("entropy", 1.5, 0.5, 0.1, 0.08), ("entropy_collapse", 4, 0.09, 0.1)),
    (column(LENGTH, 3.0, 5.0, 11.0, 6.0), ("length_drift", 4, 8.5, 8.0)),
    (column(LENGTH, 3.0, 5.0, 2.0, 1.0), ("length_drift", 4, 1.5, 2.0)),
    (both(0.12, 0.2, 0.0, 0.0), ("advantage_length", 2, 0.16, 0.05)),
    (both(-0.2, -0.16, 0.02, 0.0), ("advantage_length", 2, -0.19, 0.05)),
    (both(0.5, 0.6, 0.5, 0.52), ("oracle_length", 2, 0.51, 0.5)),
    (column(DIRECTION, 0.0, -0.3), ("wrong_direction", 2, -0.3, 0.0)),
    (column(LEFT, 0.75, 0.7, 0.5), ("type_fall", 3, 0.5, 0.65)),
    (column(VALID, 0.5, 0.5, 0.25), ("oracle_failing", 3, 0.375, 0.5)),
    (column(GAP, 0.05, 0.06), ("sampler_mismatch", 2, 0.06, 0.05)),
]

OFF = {
    "advantage_collapse": {"no_signal_fraction": 0.0, "advantage_floor": 0.0},
    "advantage_explosion": {"advantage_limit": 0.0},
    "policy_drift": {"kl_limit": 0.0},
    "entropy_collapse": {"entropy_share": 0.0},
    "length_drift": {"length_factor": 0.0},
    "advantage_length": {"paid_length": 0.0},
    "oracle_length": {"liked_length": 0.0},
    "wrong_direction": {"direction_floor": -1.0},
    "type_fall": {"type_fall": 0.0},
    "oracle_failing": {"valid_floor": 0.0},
    "sampler_mismatch": {"gap_limit": 0.0},
}


@pytest.mark.parametrize(("rows", "expected"), CASES)
def test_each_monitor_says_when_its_limit_is_passed(rows: list, expected: tuple) -> None:
    assert found(rows) == [expected]


@pytest.mark.parametrize(("rows", "expected"), CASES)
def test_each_can_be_switched_off(rows: list, expected: tuple) -> None:
    assert found(rows, **OFF[expected[0]]) == []


def test_every_monitor_has_a_case_and_advice() -> None:
    assert {expected[0] for _, expected in CASES} == set(NAMES) == set(OFF)
    assert list(CHECKS) == list(ADVICE) == list(NAMES)


def test_a_message_is_one_line_with_value_limit_and_remedy() -> None:
    (alarm,) = alarms(column("kl", 0.9, 0.3))
    assert alarm.message == (
        "policy_drift at step 2: kl (nats per token, mean of 2 steps) is 0.6, above 0.5. The "
        "policy is far from its reference: lower rl.learning_rate or raise rl.kl_coefficient "
        "(of ppo: rl.ppo.kl_reward)."
    )
    (direction,) = alarms(column(DIRECTION, -0.3))
    assert f"{DIRECTION} is -0.3, below 0" in direction.message
    assert "rl.advantage.form=signed" in direction.message
    assert "is not finite, above 0.5" in alarms(column("kl", math.inf))[0].message


def test_an_alarm_begins_once_and_again_after_it_has_cleared() -> None:
    assert [a.step for a in alarms(column(GAP, 0.1, 0.2, 0.01, 0.1, 0.1))] == [1, 4]


def test_both_signs_of_a_collapse_are_one_alarm() -> None:
    rows = [{NO_SIGNAL: 1.0, SIZE: 0.0}, {NO_SIGNAL: 1.0, SIZE: 0.0}, {NO_SIGNAL: 0.0, SIZE: 0.0}]
    assert [(a.name, a.step) for a in alarms(rows)] == [("advantage_collapse", 2)]


def test_each_task_type_falls_by_itself() -> None:
    monitors = Monitors(limits())
    assert monitors.observe(0, {LEFT: 0.75, COLOUR: 0.75}) == []
    assert [a.value for a in monitors.observe(1, {LEFT: 0.5, COLOUR: 0.75})] == [0.5]
    assert [a.value for a in monitors.observe(2, {LEFT: 0.5, COLOUR: 0.25})] == [0.25]
    assert monitors.active == 2
    assert monitors.observe(3, {LEFT: 0.7, COLOUR: 0.25}) == [] and monitors.active == 1


def test_rows_without_the_metrics_leave_an_alarm_as_it_was() -> None:
    rows = [{GAP: 0.1, DIRECTION: -0.1}, {"validation/accuracy": 0.5}, {GAP: 0.1, DIRECTION: -0.1}]
    assert [a.step for a in alarms(rows)] == [1, 1]


def test_an_oracle_that_likes_length_is_told_from_an_advantage_that_pays_for_it() -> None:
    assert found(both(0.3, 0.3, 0.25, 0.25)) == []  # most of it is the Oracle's
    assert found(both(0.3, 0.3, 0.05, 0.05)) == [("advantage_length", 2, 0.25, 0.05)]
    rows = both(-0.9, -0.9, -0.7, -0.7)  # scores may follow length more closely than ranks do
    assert found(rows) == [("oracle_length", 2, -0.7, 0.5)]
    (alarm,) = alarms(both(0.3, 0.3, 0.05, 0.05))
    assert "is +0.3, the Oracle's own +0.05: a difference beyond 0.05." in alarm.message
    assert [a[0] for a in found(both(math.inf, 0.0, math.inf, 0.0))] == [
        "advantage_length", "oracle_length",
    ]  # fmt: skip


def test_a_direction_without_signal_says_nothing() -> None:
    assert found([{DIRECTION: -0.1, NO_SIGNAL: 1.0}]) == []
    assert [a[0] for a in found([{DIRECTION: -0.1, NO_SIGNAL: 0.99}])] == ["wrong_direction"]


def test_steps_that_the_oracle_ranked_nothing_of_are_only_the_oracles_failure() -> None:
    """Their KL, entropy and advantages are 0 because there was nothing to average."""
    good = {VALID: 1.0, "entropy": 1.0, SIZE: 0.3, NO_SIGNAL: 0.2, DIRECTION: 0.5, "kl": 0.1}
    bad = {VALID: 0.0, "entropy": 0.0, SIZE: 0.0, NO_SIGNAL: 0.0, DIRECTION: 0.0, "kl": 0.0}
    assert found([good, good, bad, bad, bad], direction_floor=0.1) == [
        ("oracle_failing", 4, 0.0, 0.5)
    ]


def test_a_baseline_needs_finite_values() -> None:
    assert found(column("entropy", math.nan, 1.0, 1.0, 0.1, 0.05)) == [
        ("entropy_collapse", 5, 0.075, 0.1)
    ]


def test_replay_gives_what_watching_gave() -> None:
    rows = [row for rows, _ in CASES for row in rows]
    watched = Monitors(limits())
    replayed = Monitors(limits())
    for cut, row in enumerate(rows):
        # As they are read: with stage and step; and what is not finite is NaN.
        read = [{"stage": "rl", "step": s, **r} for s, r in enumerate(rows[:cut])]
        replayed.replay(read)
        assert replayed.active == watched.active
        assert replayed.observe(cut, row) == watched.observe(cut, row)
    assert watched.active > 0
    replayed.replay([])
    assert replayed.active == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("window", 0),
        ("no_signal_fraction", 1.5),
        ("kl_limit", -1.0),
        ("length_factor", 0.5),
        ("length_factor", 1.0),
        ("length_factor", math.inf),
        ("direction_floor", -2.0),
        ("stop_on", ("polcy_drift",)),
        ("stop_on", "policy_drift"),
    ],
)
def test_thresholds_have_limits(key: str, value: Any) -> None:
    broken = ConfigDict({"monitors": DEMO["monitors"]() | {key: value}})
    with pytest.raises(UserError, match=rf"config\.monitors\.{key} is .*; it must be "):
        rules.validate(broken)


def test_the_demo_and_all_off_keep_the_limits() -> None:
    off = {key: value for changes in OFF.values() for key, value in changes.items()}
    for changes in ({}, off, {"stop_on": NAMES}):
        rules.validate(ConfigDict({"monitors": DEMO["monitors"]() | changes}))


def test_a_misspelt_monitor_gets_the_name_that_was_meant() -> None:
    broken = ConfigDict({"monitors": {"stop_on": ("polcy_drift",)}})
    with pytest.raises(UserError, match=r"For example --config\.monitors\.stop_on=policy_drift$"):
        rules.validate(broken)


def test_no_jax_is_needed() -> None:
    script = "import sys, orl_jax.training.monitors; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


# In the loop


class Nothing:
    """A source of empty batches."""

    bad_videos, wait_seconds = 0, 0.0

    def __next__(self) -> dict[str, Any]:
        return {}

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        pass

    @staticmethod
    def merge_states(states: list[dict[str, Any]]) -> dict[str, Any]:
        return states[0]


GAPS = (0.01, 0.1, 0.1, 0.01, 0.1, 0.01)  # of the steps 1 to 6: alarms begin at 2 and 5
TRUE = {0: 0.75, 3: 0.5, 6: 0.5}  # validation accuracy of a type: an alarm begins at 3


class Script:
    """A stage whose metrics are given; it fails in the step `fail`, gets SIGTERM in `signalled`."""

    def __init__(self, workdir: pathlib.Path):
        self.workdir = workdir

    def run(
        self,
        fail: int = 0,
        signalled: int = 0,
        gaps: tuple = GAPS,
        watched: bool = True,
        **changes: Any,
    ) -> int:
        def step(state: Any, batch: Any, metrics: Any) -> tuple[Any, dict[str, Any]]:
            number = int(state.step) + 1
            if number == fail:
                raise ZeroDivisionError
            if number == signalled:
                os.kill(os.getpid(), signal.SIGTERM)
            return state._replace(step=state.step + 1), {
                "loss": 0.0,
                GAP: jnp.float32(gaps[number - 1]),
            }

        stage = loop.Stage(
            "rl", step, lambda state: {LEFT: TRUE[int(state.step)]}, steps=6, validate_every=3,
            monitors=Monitors(limits(**changes)) if watched else None,
        )  # fmt: skip
        saving = Saving({}, every_steps=1, keep=1)
        begin = start({"w": jnp.zeros(1)}, optax.sgd(1.0), 0)
        return int(loop.run(stage, saving, str(self.workdir), begin, Nothing()).step)

    def alarms(self) -> list[tuple[int, str]]:
        lines = (self.workdir / "alarms.jsonl").read_text().splitlines()
        return [(row["step"], row["name"]) for row in map(json.loads, lines)]

    def counts(self) -> list[float | None]:
        rows = read_metrics(str(self.workdir), "rl")
        return [row.get("monitor/alarms") for row in rows if "loss" in row]


BEGUN = [(2, "sampler_mismatch"), (3, "type_fall"), (5, "sampler_mismatch")]
COUNTS = [0, 1, 1, 1, 2, 1]  # the type falls after the row of step 3 is written


@pytest.fixture
def script(tmp_path: pathlib.Path) -> Script:
    return Script(tmp_path)


def test_the_loop_logs_counts_and_keeps_alarms(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    assert script.run() == 6
    assert (script.alarms(), script.counts()) == (BEGUN, COUNTS)
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
    lines = [json.loads(text) for text in (script.workdir / "alarms.jsonl").open()]
    assert warnings == [line["message"] for line in lines]
    assert list(lines[1]) == ["stage", "step", "name", "value", "limit", "message"]
    assert (lines[1]["stage"], lines[1]["value"], lines[1]["limit"]) == ("rl", 0.5, 0.65)
    validation = [row for row in read_metrics(str(script.workdir)) if LEFT in row]
    assert all(set(row) == {"stage", "step", LEFT} for row in validation)


def test_a_stage_without_monitors_has_no_trace_of_them(script: Script) -> None:
    assert script.run(watched=False) == 6
    assert script.counts() == [None] * 6
    assert not (script.workdir / "alarms.jsonl").exists()


@pytest.mark.parametrize("fail", [2, 3, 4, 5, 6])
def test_going_on_neither_repeats_nor_forgets_alarms(
    script: Script, fail: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError):
        script.run(fail)
    assert script.run() == 6
    assert (script.alarms(), script.counts()) == (BEGUN, COUNTS)
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == len(BEGUN)


def test_alarms_after_the_restored_step_are_dropped(script: Script) -> None:
    with pytest.raises(ZeroDivisionError):
        script.run(fail=4)
    later = '{"stage": "rl", "step": 4, "name": "x"}\n{"stage": "sft", "step": 9, "name": "y"}\n'
    with (script.workdir / "alarms.jsonl").open("a") as file:
        file.write(later)
    script.run()
    assert script.alarms() == [*BEGUN[:2], (9, "y"), BEGUN[2]]


def test_a_value_that_is_not_finite_is_null(script: Script) -> None:
    script.run(gaps=(math.nan, *[0.0] * 5))
    line = (script.workdir / "alarms.jsonl").read_text().splitlines()[0]
    row = json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert (row["name"], row["value"]) == ("sampler_mismatch", None)


def halted(run: Callable[[], int], step: int) -> None:
    with pytest.raises(TrainingHalted, match=rf"mismatch at step {step}: .* Saved at step {step};"):
        run()


def test_an_alarm_that_stops_saves_first_and_does_not_stop_again_at_once(script: Script) -> None:
    def run() -> int:
        return script.run(stop_on=("sampler_mismatch",))

    halted(run, 2)
    assert [f.name for f in (script.workdir / "checkpoints/rl").glob("[0-9]*")] == ["2"]
    halted(run, 5)  # that of step 2 went on at step 3; it cleared, and began anew
    assert run() == 6
    assert (script.alarms(), script.counts()) == (BEGUN, COUNTS)


def test_a_signal_in_the_same_step_does_not_hide_a_halt(script: Script) -> None:
    halted(lambda: script.run(signalled=2, stop_on=("sampler_mismatch",)), 2)
    with pytest.raises(StopRequested):
        script.run(signalled=4, stop_on=("sampler_mismatch",))


def test_only_the_named_alarms_stop(script: Script) -> None:
    with pytest.raises(TrainingHalted, match="type_fall at step 3"):
        script.run(stop_on=("type_fall",))
    assert script.run(stop_on=("type_fall",)) == 6

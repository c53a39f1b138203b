"""A benchmark of the tiny demo: its arrays, parts, files, and refusals."""

import dataclasses
import json
import pathlib
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest

from orl_jax.performance.benchmark import benchmark, curves, stages, table, vocabulary
from orl_jax.performance.benchmark.benchmark import Request, run
from orl_jax.performance.benchmark.compiled_steps import CompiledSteps
from orl_jax.performance.benchmark.peer_model import Sizes
from orl_jax.performance.benchmark.roofline import Cost, Peak, bound
from orl_jax.performance.benchmark.run_arrays import RunArrays
from orl_jax.performance.benchmark.timing import Timing, ratios, timed
from orl_jax.performance.plan.run_shapes import RunShapes
from orl_jax.performance.plan.shapes import Shapes, tokens_of
from orl_jax.run.errors import UserError

ROOT = pathlib.Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "demo.py"
PEAK = Peak(1e9, 1e9)


@pytest.fixture(scope="module")
def held():
    config = runpy.run_path(str(CONFIG))["get_config"]("tiny").unlock()
    config.data.folder = "nowhere"
    shapes = Shapes(config, tokens_of(config, 40), jax.devices()[:1])
    return RunArrays(shapes, CompiledSteps(shapes))


def described(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), tree)


def test_arrays_are_those_of_the_plan(held):
    planned = RunShapes(held.shapes)
    for name in ("state", "frozen", "banned", "frames", "prompt", "media", "batch"):
        assert described(getattr(held, name)) == described(getattr(planned, name)), name


def test_sequences_have_no_padding_and_no_response_ends_early(held):
    tokens = held.shapes.tokens
    ids, mask = held.prompt
    assert mask.all() and ((ids == tokens.image_id).sum(axis=1) == 6).all()
    assert (
        held.banned[tokens.end_id] and not held.banned[np.asarray(held.batch.responses.ids)].any()
    )
    args = held.filled((held.state, held.frozen, held.banned, held.media, held.prompt))
    number = jax.numpy.zeros((), jax.numpy.int32)
    number = held.shapes.layout.replicate(number)
    rollout = held.programs["rollout"].run(*args, number)
    assert rollout.mask.all() and (rollout.ids != tokens.end_id).all()


def test_a_decoding_step_reuses_the_state_that_it_donates(held):
    stage = stages.measure("decode", held, PEAK, 2)
    assert len(stage.timing.samples) == 2 and stage.count == 4 * 3
    found = stage.to_dict()
    assert found["share"] * found["timing"]["median"] == pytest.approx(stage.bound)


def test_the_cost_of_a_rollout_is_that_of_its_parts(held):
    cost = {name: held.programs.cost(name) for name in ("prefill", "decode", "rollout")}
    assert cost["rollout"] == cost["prefill"] + cost["decode"].times(12)
    assert cost["decode"].flops > 2 * 12 * 2 * 4 * 16 * 16  # answers, layers, q k v o


def test_bound():
    assert bound(Cost(10, 4), Peak(5, 1)) == 4
    assert bound(Cost(30, 4), Peak(5, 1), devices=2) == 3


def test_timing():
    calls = []
    timing = timed(lambda: calls.append(0), 3)
    assert len(calls) == 4 and len(timing.samples) == 3
    assert Timing((2.0, 1.0, 4.0)).to_dict()["median"] == 2
    assert ratios(Timing((4.0, 9.0)), Timing((2.0, 3.0))).samples == (2, 3)


def test_exponent():
    assert curves.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_prompts_of_a_curve_have_room_for_a_video(held):
    config = benchmark.sized(held.shapes.config, {**curves.BASE, "data.prompt_tokens": 4})
    assert config.data.prompt_tokens == 6 + 8 and config.rl.group_size == 4


def test_curves_are_fitted_and_drawn(tmp_path, held, monkeypatch):
    monkeypatch.setattr(curves, "step_call", lambda held: lambda: None)
    request = Request("demo", curves=("group", "frames"), repeats=1, vocabulary=40)
    axes = run(held.shapes.config, str(tmp_path), request)["curves"]["axes"]
    assert [point["value"] for point in axes["group"]["points"]] == [2, 4, 8, 16]
    assert axes["frames"]["exponent"] != axes["frames"]["end_exponent"]
    assert "| group " in (tmp_path / "benchmark.md").read_text()
    assert (tmp_path / "benchmark.png").is_file()


def test_memory_with_chunks_does_not_grow_with_the_positions():
    few, many = (vocabulary.row(16, 4000, positions, 32) for positions in (64, 256))
    assert many["temporary_bytes"] < few["temporary_bytes"] + 256 * 16 * 4 * 4  # only the states
    whole = vocabulary.row(16, 4000, 256, 0)
    assert whole["temporary_bytes"] > 4 * many["temporary_bytes"]


def test_parts_of_several_runs_are_collected_in_one_folder(tmp_path, held, monkeypatch, capsys):
    monkeypatch.setattr(vocabulary, "VOCABULARIES", (500,))
    monkeypatch.setattr(vocabulary, "CHUNKS", (1,))
    config = held.shapes.config
    run(config, str(tmp_path), Request("demo", stages=("video",), repeats=1))
    run(config, str(tmp_path), Request("demo", parts=("vocabulary",), repeats=1))
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert set(found) == {"stages", "vocabulary"} and found["stages"]["machine"]["jax"]
    text = (tmp_path / "benchmark.md").read_text()
    assert "| video |" in text and "frames/s" in text and "| 500 " in text
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    assert "| 500 " in capsys.readouterr().out


def test_results_of_a_concurrent_run_are_kept(tmp_path, held, monkeypatch):
    """Two runs write to one folder; the second ends while the first is measuring."""
    config = held.shapes.config

    def slow(config, request):
        run(config, str(tmp_path), Request("demo", stages=("video",), repeats=1))
        return {"rows": []}

    monkeypatch.setitem(benchmark._MEASURES, "vocabulary", slow)
    found = run(config, str(tmp_path), Request("demo", parts=("vocabulary",)))
    assert set(found) == {"stages", "vocabulary"}
    assert found == json.loads((tmp_path / "benchmark.json").read_text())


def test_numbers_are_written_out():
    timing = {"median": 0.696, "low": 0.5751, "high": 1.5634}
    assert table._seconds(timing) == "696 ms (575–1,563)"
    assert table._seconds({"median": 4.7411, "low": 4.6, "high": 12.0}) == "4.74 s (4.6–12)"


def test_a_part_for_each_peer():
    found = {name: {"of": name} for name in ("peer tunix", "stages", "peer trl")}
    order = list(table.in_order(found, ["stages", "prefix", "peer"]))
    assert [part["of"] for _, part in order] == ["stages", "peer tunix", "peer trl"]
    assert {kind for kind, _ in order} == {"stages", "peer"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parts": ("peer",)}, "--only=peer; choose some of stages, prefix, vocabulary"),
        ({"stages": ("dream",)}, "no stage 'dream'; choose some of video, encode"),
        ({"curves": ("width",)}, "no curve 'width'; choose some of frames"),
        ({"peer": "trll"}, "--peer=trll; choose one of trl, tunix"),
        ({"peer": "tunix"}, "give that environment's Python as --peer_python"),
        ({"sizes": Sizes(prompts=1)}, "--sizes is for the comparison with a peer; add --peer"),
        ({"peer_python": "python"}, "--peer_python is for the comparison with a peer; add"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(UserError, match=words):
        Request("demo", **changes).chosen()


def test_unreadable_files_are_named(tmp_path, held):
    config, request = held.shapes.config, Request("demo", stages=("video",), repeats=1)
    (tmp_path / "no.mp4").write_text("no clip")
    with pytest.raises(UserError, match=r"--clip=.*no\.mp4 cannot be read"):
        run(config, str(tmp_path), dataclasses.replace(request, clip=str(tmp_path / "no.mp4")))
    for text in ("{", "[1, 2]", '{"peer": 3}', '{"stages": {"machine": {}}}'):
        (tmp_path / "benchmark.json").write_text(text)
        with pytest.raises(UserError, match=r"benchmark\.json is not .*; delete it"):
            run(config, str(tmp_path), request)
        assert (tmp_path / "benchmark.json").read_text() == text


def test_parts_follow_the_flags():
    assert Request("demo").chosen() == ["stages"]
    assert Request("demo", peer="trl").chosen() == ["peer"]
    assert Request("demo", curves=("group",), parts=("stages",)).chosen() == ["stages", "curves"]


def test_sizes():
    assert Sizes.parse("prompt=800,group=2").tokens == 4 * 2 * (800 + 64)
    for text in ("depth=3", "prompt=-1", "prompt"):
        with pytest.raises(UserError, match="is not a size"):
            Sizes.parse(text)
    for text, least in (("prompt=9", 10), ("group=1", 2), ("rank=0", 1)):
        with pytest.raises(UserError, match=f"{text} must be at least {least}"):
            Sizes.parse(text)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--repeats=0", "--repeats=0; it must be at least 1"),
        ("--clip=none.mp4", "--clip=none.mp4: there is no such file"),
        ("--only=all", "--only=all; choose some of"),
    ],
)
def test_the_script_refuses_invalid_flags(tmp_path, flag, words):
    command = [sys.executable, ROOT / "scripts" / "benchmark.py", f"--config={CONFIG}:tiny", flag]
    done = subprocess.run(
        [*command, f"--workdir={tmp_path / 'out'}"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (2, "") and words in done.stderr
    assert not (tmp_path / "out").exists()

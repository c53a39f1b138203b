"""What a plan counts on several meshes, its verdict, and its refusals."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

import scripts
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.performance.plan.devices import has_plugin, make_target
from orl_jax.performance.plan.measurement import LiveArrays, Measured
from orl_jax.performance.plan.plan import Plan, current
from orl_jax.performance.plan.remedies import Remedy, candidates, remedies
from orl_jax.performance.plan.shapes import tokens_of
from orl_jax.performance.plan.table import render
from orl_jax.run.errors import UserError

pytestmark = pytest.mark.heavy

HERE = pathlib.Path(__file__)
ROOT = HERE.parents[3]
GB = 10**9
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}


def tiny():
    return runpy.run_path(str(ROOT / "configs" / "demo.py"))["get_config"]("tiny").unlock()


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The results of `plan_runs.py`."""
    out = tmp_path_factory.mktemp("plan") / "out.json"
    command = [sys.executable, HERE.with_name("plan_runs.py"), out]
    subprocess.run(command, check=True, timeout=600, env=ENVIRONMENT)
    return json.loads(out.read_text())


def language(run):
    """Bytes of the language model's parameters."""
    return {p: size for p, size in run["params"].items() if p.startswith("language/")}


def kernels(run):
    names = ("kernel", "codes", "scales")
    return sum(size for p, size in language(run).items() if p.rpartition("/")[2] in names)


def test_parameters_per_device_by_hand(runs):
    # width 16, 2 layers, MLP 32, rank 2, vocabulary 90, float32
    whole = 4 * 2 * (4 * 16 * 16 + 3 * 16 * 32)
    tables, norms = 4 * 2 * 90 * 16, 4 * 16 * (2 * 2 + 1)
    narrow, wide = 4 * 2 * 16 * 2, 4 * 2 * 32 * 2  # an adapter's half at a width of 16, of 32
    assert sum(language(runs["1x1x1"]).values()) == (
        whole + tables + norms + 5 * narrow + 3 * narrow + 2 * wide + 2 * narrow + wide + narrow
    )
    cut = whole / 4 + tables / 4 + norms + 5 * narrow / 2 + (3 * narrow + 2 * wide) / 4
    cut += narrow / 4 + narrow / 2 + wide / 4 + narrow / 2  # o and down: A by both, B by fsdp
    assert sum(language(runs["1x2x2"]).values()) == cut


def test_a_quantised_base_is_smaller(runs):
    # NF4: half a byte per number, and a float32 scale for every 4
    assert kernels(runs["nf4"]) == kernels(runs["1x1x1"]) * (0.5 + 4 / 4) / 4
    assert "quantise" in runs["nf4"]["names"] and "quantise" not in runs["1x1x1"]["names"]
    step = runs["nf4"]["steps"]["quantise"]
    everything = sum(runs["1x1x1"]["params"].values())
    largest = 4 * 2 * 16 * 32  # the step makes its codes
    assert step["arguments"] == largest
    assert step["arguments"] + step["beside"] == (
        everything + kernels(runs["nf4"]) - largest * (0.5 + 4 / 4) / 4
    )


def test_data_parallel_devices_share_the_rows(runs):
    one, two = runs["1x1x1"], runs["2x1x1"]
    assert (two["rows"], two["caches"]) == (one["rows"] / 2, one["caches"] / 2)
    assert (two["params"], two["moments"]) == (one["params"], one["moments"])
    frames = 4 * 3 * 32 * 32 * 3  # for 4 prompts, a byte per colour
    for step, rows in (("encode", frames), ("decode", one["caches"])):
        less = one["steps"][step]["arguments"] - two["steps"][step]["arguments"]
        assert rows / 2 <= less < rows / 2 + 2000, step
        assert two["steps"][step]["temporaries"] < 0.6 * one["steps"][step]["temporaries"]


def test_optimiser_reference_and_value_model(runs):
    run, ppo = runs["1x1x1"], runs["ppo"]
    trained = sum(size for path, size in run["params"].items() if "/lora_" in path)
    assert run["reference"] == trained
    assert run["moments"] == 2 * trained + 8  # and two counters
    head = 4 * (16 + 1)
    assert ppo["moments"] == 2 * (2 * trained + head) + 8
    assert ppo["always"] - run["always"] == 3 * (trained + head)
    counter, key, banned = 4, 8, 90
    everything = sum(run["params"].values()) + run["reference"] + run["moments"]
    assert run["always"] == everything + counter + key + banned
    # the optimiser and the reference are not arguments of the encoder, but in memory
    encode, frames, prompts = run["steps"]["encode"], 4 * 3 * 32 * 32 * 3, 4 * 32 * (4 + 1)
    assert encode["arguments"] + encode["beside"] == run["always"] + frames + prompts


def step(name, total, part_of="", **changes):
    """A measured step that needs only temporaries."""
    values = {
        "arguments": 0, "beside": 0, "temporaries": total, "outputs": 0, "widened": 0, "calls": 1,
        "flops": 0, "open_loops": False, "held": (), "seconds": 0.0,
    }  # fmt: skip
    return Measured(name=name, part_of=part_of, **(values | changes))


def make(*steps, memory=80 * GB, **changes):
    mesh = {"data": 4, "fsdp": 1, "tensor": 1}
    return Plan(**({"target": "h100", "mesh": mesh, "memory": memory, "steps": steps} | changes))


def test_verdict():
    fits = make(step("encode", 10 * GB), step("update", 30 * GB), step("score", 90 * GB, "update"))
    assert fits.fits and fits.peak.name == "update"  # parts don't run by themselves
    assert "Fits: update needs most, 30.00 GB of 80 GB." in render(fits, 3)
    assert "MEM_FRACTION" not in render(fits, 3)
    alone = make(step("prefill", 2 * GB, "rollout"), step("decode", 3 * GB, "rollout"))
    assert alone.fits and alone.peak.name == "decode"
    assert "MEM_FRACTION to 0.90" in render(make(step("update", 70.4 * GB)), 3)
    much = make(
        step("update", 90 * GB),
        remedies=(Remedy({"rl.micro_batch": 4}, 50 * GB), Remedy({"mesh.fsdp": 4}, 85 * GB)),
    )
    text = render(much, 3)
    assert not much.fits and "Does not fit: update" in text
    assert "50.00 GB  --config.rl.micro_batch=4  (fits)" in text
    assert "85.00 GB  --config.mesh.fsdp=4  (still too much)" in text
    assert "No single change helps" in render(make(step("update", 90 * GB)), 3)


def test_the_table_adds_up():
    parts = (step("prefill", 2 * GB, "rollout", flops=8 * 10**12),
             step("decode", GB, "rollout", flops=10**12, calls=16))  # fmt: skip
    held = (LiveArrays("bf16[2,3]", 2, 3 * GB, "VLM.decode/language"),)
    rollout = step("rollout", 4 * GB, flops=9 * 10**12, open_loops=True, arguments=GB, held=held)
    lines = render(make(rollout, *parts), 1).splitlines()
    row = {line.split()[0]: line.split() for line in lines if len(line.split()) > 6}
    assert row["rollout"][1:] == ["1.00", "0.00", "4.00", "0.00", "5.00", "6%", "6.00"]
    assert row["decode"][-1] == "4.00" and "decode x 16" in "\n".join(lines)
    assert any("3.00 GB  2 x bf16[2,3]" in line and "VLM.decode" in line for line in lines)
    assert ">2.25" in render(make(rollout), 0)  # a loop without its parts
    assert all(len(line) <= 120 for line in lines)


def test_the_widening_of_cpus_is_reported():
    plan = make(step("update", 3 * GB, widened=2 * GB), step("encode", 4 * GB), target="cpu")
    assert "with them update takes 5.00 GB" in render(plan, 0)
    assert "with them" not in render(make(step("update", 3 * GB)), 0)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("rollout", {"rl.batch_size": 2}),
        ("rollout", {"rl.max_response_tokens": 6}),
        ("encode", {"model.vision.frames_at_a_time": 1}),
        ("update", {"rl.micro_batch": 2}),
        ("update", {"model.language.remat": True}),
        ("update", {"model.vocabulary_chunk": 1024}),
        ("update", {"model.language.quantisation": "nf4"}),
        ("sft", {"sft.batch_size": 2}),
        ("validate", {"evaluation.batch_size": 4}),
    ],
)
def test_candidates(name, changes):
    sizes = {"data": 1, "fsdp": 1, "tensor": 1}
    assert changes in list(candidates(current(tiny()), name, sizes))


def test_candidates_divide_the_rows_over_the_devices():
    sizes = {"data": 4, "fsdp": 1, "tensor": 1}
    found = list(candidates(current(tiny()), "rollout", sizes))
    assert not any("rl.batch_size" in changes for changes in found)  # 2 rows on 4 devices
    assert {"mesh.data": 1, "mesh.fsdp": 4} in found


def test_remedies_are_tried_and_ordered():
    now = current(tiny())

    def total_of(changes):
        if "rl.max_response_tokens" in changes:
            raise UserError("no")
        return 10 * (now | changes)["rl.batch_size"]

    found = remedies(now, "rollout", {"data": 1, "fsdp": 1, "tensor": 1}, total_of)
    assert found[0] == Remedy({"rl.batch_size": 2}, 20)
    assert found[0].flags == "--config.rl.batch_size=2"
    assert [r.total for r in found] == sorted(r.total for r in found)
    assert not any("rl.max_response_tokens" in r.changes for r in found)


def script(*flags):
    """Runs the script on the tiny config."""
    command = [sys.executable, ROOT / "scripts" / "plan_memory.py", *flags]
    if not any(flag.startswith("--target=") for flag in flags):
        command.insert(2, "--target=cpu")
    if not any(flag.startswith("--config=") for flag in flags):
        command.insert(2, f"--config={ROOT / 'configs' / 'demo.py'}:tiny")
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)


def test_the_script_with_enough_memory(tmp_path):
    out = tmp_path / "plan.json"
    done = script("--steps=encode", "--config.mesh.data=2", f"--json={out}", "--top=1")
    assert done.returncode == 0, done.stderr
    assert "2 x 80 GB (data 2, fsdp 1, tensor 1), compiled for cpu." in done.stdout
    assert "Fits: encode needs most" in done.stdout
    plan = json.loads(out.read_text())
    assert (plan["fits"], plan["peak"], plan["mesh"]["data"]) == (True, "encode", 2)
    assert plan["steps"][0]["total"] > 36864 / 2


@pytest.fixture
def here(capsys, monkeypatch):
    """Runs the script on one device, which is what this process has: (status, output, errors)."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")  # the script sets it

    def run(*flags):
        config = f"--config={ROOT / 'configs' / 'demo.py'}:tiny"
        return scripts.status_of(
            "plan_memory", config, "--target=cpu", *flags
        ), *capsys.readouterr()

    return run


def test_the_script_with_too_little_memory(here):
    status, out, err = here("--steps=encode", "--memory=0.0001", "--top=0")
    assert status == 1
    assert "failed: encode does not fit" in err
    assert "Does not fit: encode needs most" in out
    assert "--config.model.vision.frames_at_a_time=1" in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps=encode,dream"], "there is no step 'dream'; choose some of initialise"),
        (["--devices=1", "--config.mesh.data=2"], "which takes 2 devices or a multiple"),
    ],
)
def test_refusals(flags, words, here):
    status, out, err = here(*flags)
    assert (status, out) == (2, "")
    assert words in err and "Traceback" not in err


def test_rows_that_do_not_divide_over_the_devices_are_refused():
    done = script("--config.mesh.data=3", "--steps=encode")
    assert (done.returncode, done.stdout) == (2, "")
    assert "rl.batch_size is 4, which does not divide" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--memory=0", "--memory=0; it must be positive"),
        ("--devices=-1", "--devices=-1; it must be at least 0"),
        ("--json=/no/such/folder/a.json", "its folder does not exist"),
    ],
)
def test_bad_flags_are_refused_before_jax_starts(flag, words, here):
    status, out, err = here(flag)
    assert status == 2
    assert out == "" and words in err and "Traceback" not in err


def test_a_prompt_must_have_room_for_a_video():
    config = tiny()
    config.data.prompt_tokens = 6
    with pytest.raises(UserError, match="prompt_tokens is 6, and a video takes 6"):
        tokens_of(config, 100)


def test_the_tokenizer_of_the_data_is_used_if_there_is_one(tmp_path):
    config = tiny()
    config.data.folder = str(tmp_path)
    assert tokens_of(config, 100).vocabulary_size == 100
    build_word_tokenizer(["What moves?"]).save_pretrained(tmp_path / "tokenizer")
    tokens = tokens_of(config, 100)
    assert tokens.vocabulary_size < 30 and tokens.prompt_length == config.data.prompt_tokens


def test_an_unknown_target_is_refused():
    with pytest.raises(UserError, match="--target=tpu; choose one of auto, h100, cpu"):
        make_target("tpu", 1, GB)


@pytest.mark.skipif(has_plugin(), reason="JAX's CUDA plugin is installed")
def test_compiling_for_a_gpu_needs_the_plugin():
    with pytest.raises(UserError, match="no GPU is needed.*gpu"):
        make_target("h100", 1, GB)


@pytest.mark.skipif(not has_plugin(), reason="JAX's CUDA plugin is not installed")
def test_a_gpu_holds_the_cache_of_the_responses_once(tmp_path):
    out, layers, tokens = tmp_path / "plan.json", 16, 2**15
    flags = [
        f"--config.model.language.layers={layers}", "--config.model.language.unroll=1",
        f"--config.rl.max_response_tokens={tokens}", "--vocabulary=100", f"--json={out}",
    ]  # fmt: skip
    done = script("--target=h100", "--steps=rollout", *flags)
    assert done.returncode == 0, done.stderr
    cache = 2 * layers * 4 * 3 * tokens * 8 * 4  # keys, values; 4 prompts, 3 answers, width 8
    assert cache < json.loads(out.read_text())["steps"][0]["temporaries"] < 1.5 * cache

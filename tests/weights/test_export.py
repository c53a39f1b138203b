"""Checkpoints as Hugging Face and PEFT folders: the same logits, and refusals."""

import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys

import hub_models as hub
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.models.assembly import stored_config
from orl_jax.run.errors import UserError
from orl_jax.weights.exporting import Request, export
from orl_jax.weights.names import PROJECTIONS
from orl_jax.weights.writing import NewTensor, write_file

torch = pytest.importorskip("torch", reason="parity with transformers needs torch")

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    hub.save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def params(tokenizer):
    """Those of the plain model with adapters, and a vision tower that no form writes."""
    params = hub.with_adapters(hub.our_params(hub.hub_llama(_size(tokenizer))))
    return params | {
        "vision": {"norm": {"scale": np.ones(3, np.float32)}},
        "adapter": {"project_in": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tokenizer, params):
    return hub.save_checkpoint(tmp_path_factory.mktemp("run"), params, tokenizer)


def _size(tokenizer):
    return len(AutoTokenizer.from_pretrained(tokenizer))


def _load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()


def _tensors(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tensors


@pytest.mark.parametrize("family", hub.FAMILIES)
def test_merged_and_peft_exports_give_our_logits(tmp_path, tokenizer, family):
    from peft import PeftModel

    theirs = hub.hub_llama(_size(tokenizer), family)
    params = hub.with_adapters(hub.our_params(theirs))
    checkpoint = hub.save_checkpoint(tmp_path / "run", params, tokenizer, family=family)
    for form in ("merged", "base", "peft"):
        export(checkpoint, tmp_path / form, Request(form))
    ours = hub.our_logits(params, family)
    base = _load(tmp_path / "base")
    plain = hub.hub_logits(theirs)
    np.testing.assert_array_equal(hub.hub_logits(base), plain)
    np.testing.assert_allclose(hub.hub_logits(_load(tmp_path / "merged")), ours, atol=1e-5)
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "peft")).eval()
    np.testing.assert_allclose(hub.hub_logits(adapted), ours, atol=1e-5)
    assert np.abs(ours - plain).mean() > 0.1  # adapters matter


def test_adapters_of_a_stage_are_merged_into_its_base_checkpoint(tmp_path, tokenizer):
    params = hub.with_adapters(hub.our_params(hub.hub_llama(_size(tokenizer))))
    layers = params["language"]["layers"]
    trained = {
        name: {part: layers[name].pop(part) for part in ("lora_a", "lora_b")}
        for name in PROJECTIONS
    }
    hub.save_checkpoint(tmp_path, params, tokenizer, stage="sft")
    rl = {"language": {"layers": trained}, "value": {"kernel": np.ones(3)}}
    checkpoint = hub.save_checkpoint(tmp_path, rl, tokenizer, base="checkpoints/sft/7")
    merged = export(f"{checkpoint}/7", tmp_path / "out")
    got = _tensors(merged)["model.layers.1.mlp.down_proj.weight"]
    kernel, pair = layers["down"]["kernel"][1], trained["down"]
    expected = kernel + hub.ALPHA / hub.RANK * pair["lora_a"][1] @ pair["lora_b"][1]
    np.testing.assert_allclose(got, expected.T, atol=1e-6)


def test_shards_respect_the_limit_and_have_an_index(tmp_path, checkpoint):
    limit = 3000  # bytes; the largest tensor is an MLP's, 16 x 20 x 4 = 1280
    whole = export(checkpoint, tmp_path / "whole")
    parts = export(checkpoint, tmp_path / "parts", Request(shard_bytes=limit))
    files = sorted(parts.glob("*.safetensors"))
    assert files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    assert len(files) > 5
    index = json.loads((parts / "model.safetensors.index.json").read_text())
    expected, got = _tensors(whole), _tensors(parts)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in expected.values())
    assert set(index["weight_map"]) == set(expected) == set(got)
    for file in files:
        with safe_open(file, "np") as opened:
            held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        assert sum(value.nbytes for value in held.values()) <= limit
        assert all(index["weight_map"][name] == file.name for name in held)
    np.testing.assert_array_equal(hub.hub_logits(_load(parts)), hub.hub_logits(_load(whole)))


def test_merging_is_in_float32_before_rounding_to_bfloat16(tmp_path, checkpoint):
    full = _tensors(export(checkpoint, tmp_path / "full"))
    half = export(checkpoint, tmp_path / "half", Request(dtype="bfloat16"))
    rounded = _tensors(half)
    bfloat16 = np.dtype("bfloat16")
    for name, value in full.items():
        assert value.dtype == np.float32
        assert rounded[name].dtype == bfloat16
        np.testing.assert_array_equal(rounded[name], value.astype(bfloat16))
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"


def test_each_tensor_keeps_its_stored_type(tmp_path, tokenizer):
    params = hub.our_params(hub.hub_llama(_size(tokenizer)))
    kernel = params["language"]["layers"]["q"]["kernel"]
    params["language"]["layers"]["q"]["kernel"] = kernel.astype(np.dtype("bfloat16"))
    folder = export(hub.save_checkpoint(tmp_path, params, tokenizer), tmp_path / "out")
    types = {name: value.dtype.name for name, value in _tensors(folder).items()}
    assert types.pop("model.layers.0.self_attn.q_proj.weight") == "bfloat16"
    assert types.pop("model.layers.1.self_attn.q_proj.weight") == "bfloat16"
    assert set(types.values()) == {"float32"}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"  # loses nothing


@pytest.mark.parametrize("name", ["odd" + "_" * length for length in range(3)])
def test_tensors_of_a_file_are_aligned(tmp_path, name):
    odd = np.arange(3, dtype=np.float32).astype(np.dtype("bfloat16"))  # 6 bytes
    wide = np.arange(4, dtype=np.float32).reshape(2, 2).T  # not contiguous
    arrays = {name: odd, "wide": wide}
    tensors = [NewTensor(k, v.shape, v.dtype, lambda v=v: v) for k, v in arrays.items()]
    write_file(tmp_path / "a.safetensors", tensors)
    written = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(written[:8], "little")
    assert length % 8 == 0  # where the tensors begin
    assert json.loads(written[8 : 8 + length])["wide"]["data_offsets"] == [0, 16]
    for key, value in _tensors(tmp_path).items():
        np.testing.assert_array_equal(value, arrays[key])


def test_another_tokenizer_of_the_same_size_is_refused(tmp_path, tokenizer, checkpoint):
    other = tmp_path / "tokenizer"
    shutil.copytree(tokenizer, other)
    content = json.loads((other / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words["▁red"], words["▁left"] = words["▁left"], words["▁red"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="run.* another tokenizer than .*; give its own as --token"):
        export(checkpoint, tmp_path / "out", Request(tokenizer=str(other)))
    assert not (tmp_path / "out").exists()


def test_tokenizer_and_generation(tmp_path, tokenizer, checkpoint):
    folder = export(checkpoint, tmp_path / "out")
    expected, got = (AutoTokenizer.from_pretrained(path) for path in (tokenizer, folder))
    text = "Which circle is red?</s>"
    assert got(text)["input_ids"] == expected(text)["input_ids"]
    assert got.get_vocab() == expected.get_vocab()
    generation = GenerationConfig.from_pretrained(folder)
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (1, 2, 3)
    assert generation.suppress_tokens[:4] == [0, 1, 3, 4]  # <unk>, <s>, <pad>, <image>
    assert len(generation.suppress_tokens) == 8  # and the words of the template
    prompts = torch.tensor(hub.IDS)
    out = _load(folder).generate(prompts, max_new_tokens=20, do_sample=True, temperature=9.0)
    sampled = out[:, prompts.shape[1] :].tolist()
    assert not {0, 1, 4} & {token for row in sampled for token in row}


def test_the_adapter_has_our_names(tmp_path, checkpoint, params):
    folder = export(checkpoint, tmp_path / "out", Request("adapter"))
    with safe_open(folder / "adapter.safetensors", "np") as file:
        assert list(file.keys()) == ["adapter/project_in/kernel"]
        value = file.get_tensor("adapter/project_in/kernel")
        settings = json.loads(file.metadata()["settings"])
    assert settings["name"] == "pool"
    assert settings == stored_config(str(checkpoint)).model.adapter.to_dict()
    np.testing.assert_array_equal(value, params["adapter"]["project_in"]["kernel"])


def test_modules_that_are_not_written_are_logged(tmp_path, checkpoint, caplog):
    caplog.set_level("INFO")
    export(checkpoint, tmp_path / "out")
    assert "vision (3 numbers) is not part of this form" in caplog.text
    assert "adapter (6 numbers) is not part of this form" in caplog.text


def test_an_existing_output_is_not_touched(tmp_path, checkpoint):
    kept = tmp_path / "out" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(UserError, match="out already exists"):
        export(checkpoint, tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "kept"]
    kept.unlink()
    export(checkpoint, tmp_path / "out")  # an empty folder is used
    assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize(
    ("removed", "request_", "message"),
    [
        (("language/layers/*/lora_a",), Request("peft"), "has no LoRA adapters to write"),
        (("language/embedding",), Request(), "holds no language/embedding; name a checkpoint"),
        (("language/lm_head",), Request(), "holds no language/lm_head; name a checkpoint"),
        (("adapter",), Request("adapter"), "holds no parameters of an adapter"),
        ((), Request(tokenizer="nowhere"), "no tokenizer in nowhere"),
    ],
)
def test_missing_parts_of_a_checkpoint_are_named(
    tmp_path, tokenizer, params, removed, request_, message
):
    flat = flatten_dict(params, sep="/")
    kept = {
        path: value
        for path, value in flat.items()
        if not any(fnmatch.fnmatch(path, f"{pattern}*") for pattern in removed)
    }
    checkpoint = hub.save_checkpoint(tmp_path / "run", unflatten_dict(kept, sep="/"), tokenizer)
    with pytest.raises(UserError, match=message):
        export(checkpoint, tmp_path / "out", request_)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # nothing half-written


def test_another_tokenizer_is_refused(tmp_path, checkpoint):
    build_word_tokenizer(["one"]).save_pretrained(str(tmp_path / "other"))
    with pytest.raises(UserError, match="other has .* tokens and the model of"):
        export(checkpoint, tmp_path / "out", Request(tokenizer=str(tmp_path / "other")))


def test_a_folder_that_is_not_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a checkpoint \(it holds nothing\)"):
        export(tmp_path, tmp_path / "out")


def test_the_script_writes_a_folder_and_lists_its_files(tmp_path, checkpoint):
    done = subprocess.run(
        [
            sys.executable, "scripts/export_weights.py", f"--checkpoint={checkpoint}",
            f"--output={tmp_path / 'out'}", "--form=peft", "--base=our/base", "--dtype=bfloat16",
        ],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "adapter_model.safetensors" in done.stdout
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "our/base"
    assert (config["r"], config["lora_alpha"]) == (hub.RANK, hub.ALPHA)
    assert {value.dtype.name for value in _tensors(tmp_path / "out").values()} == {"bfloat16"}

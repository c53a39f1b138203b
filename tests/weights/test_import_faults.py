"""Imports that fail: one message with all faults, and nothing left behind; and the script."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import hub_folders as folders
import numpy as np
import pytest

from orl_jax.run.errors import UserError
from orl_jax.weights import matching
from orl_jax.weights.importing import import_weights

pytest.importorskip("torch", reason="the models to import are PyTorch's")


def refused(workdir, message, **paths):
    """The import fails with this message and leaves nothing in the workdir."""
    with pytest.raises(UserError, match=message):
        import_weights(folders.make_config(**paths), str(workdir))
    left = [path.name for path in pathlib.Path(workdir).rglob("*")]
    assert left in ([], ["checkpoints"])


def test_one_message_names_all_tensors_that_do_not_fit(tmp_path):
    def edit(state):
        del state["encoder.layers.0.mlp.fc1.bias"]
        state["encoder.layers.1.mlp.fc3.bias"] = state.pop("pre_layrnorm.bias")
        state["pre_layrnorm.weight"] = np.zeros(16, np.int8)  # as in a quantised model

    folders.save_clip(tmp_path / "hub")
    folders.change(tmp_path / "hub", edit)
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config | {"image_size": 12}))
    refused(
        tmp_path / "run",
        r"hub lacks pre_layrnorm.bias, encoder.layers.0.mlp.fc1.bias, "
        r"and holds unknown tensors: encoder.layers.1.mlp.fc3.bias, "
        r"and has tensors of another shape or type: "
        r"embeddings.position_embedding.weight \(float32 \[5, 16\], not \[10, 16\] of floats\), "
        r"pre_layrnorm.weight \(I8 \[16\], not \[16\] of floats\)$",
        vision=tmp_path / "hub",
    )


def test_tensors_missing_in_several_layers_are_named_once(tmp_path):
    def edit(state):
        for layer in range(3):
            del state[f"encoder.layers.{layer}.mlp.fc1.weight"]

    folders.save_clip(tmp_path / "hub")
    folders.change(tmp_path / "hub", edit)
    message = r"lacks encoder.layers.\{0-1\}.mlp.fc1.weight$"  # the third layer is not used
    refused(tmp_path / "run", message, vision=tmp_path / "hub")


def test_one_message_names_the_faults_of_all_folders(tmp_path):
    folders.save_clip(tmp_path / "clip")
    folders.save_qformer(tmp_path / "qformer", "blip2")
    folders.change(tmp_path / "clip", lambda state: state.pop("pre_layrnorm.bias"))
    folders.change(tmp_path / "qformer", lambda state: state.pop("layernorm.bias"))
    message = "clip lacks pre_layrnorm.bias; .*qformer lacks layernorm.bias$"
    refused(tmp_path / "run", message, vision=tmp_path / "clip", adapter=tmp_path / "qformer")


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(tmp_path):
    folders.save_llama(tmp_path / "hub", rows=folders.WORDS - 1)
    refused(
        tmp_path / "run", r"model.embed_tokens.weight \(float32 \[16, 16\], not \[19, 16\]",
        language=tmp_path / "hub",
    )  # fmt: skip


def test_a_failure_during_the_import_leaves_nothing(tmp_path, monkeypatch):
    folders.save_llama(tmp_path / "hub")
    read, asked = matching.Folder.read, []

    def breaks(folder, name):
        asked.append(name)
        if len(asked) == 9:
            raise UserError("the disk is gone")
        return read(folder, name)

    monkeypatch.setattr(matching.Folder, "read", breaks)
    refused(tmp_path / "run", "the disk is gone", language=tmp_path / "hub")
    assert len(asked) >= 9


@pytest.mark.parametrize(
    "paths, message",
    [
        ({}, "no folder is named"),
        ({"llava": "a", "language": "b"}, "config.weights.llava holds the language model"),
        ({"vision": "nowhere"}, "there is no folder nowhere"),
    ],
)
def test_folders_that_are_missing_or_contradict_each_other(tmp_path, paths, message):
    refused(tmp_path / "run", message, **paths)


def test_too_few_prompt_tokens_are_refused_before_anything_is_read(tmp_path):
    folders.save_llava(tmp_path / "hub")
    config = folders.make_config(llava=tmp_path / "hub")
    config.data.prompt_tokens = 12
    with pytest.raises(UserError, match="config.data.prompt_tokens is 12"):
        import_weights(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def run_script(*arguments):
    """Runs scripts/import_weights.py."""
    return subprocess.run(
        [sys.executable, "scripts/import_weights.py", *arguments],
        cwd=folders.ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_script_and_the_config_to_train_with(tmp_path):
    folders.save_llava(tmp_path / "hub")
    workdir = str(tmp_path / "run")
    arguments = (
        "--config=configs/imported.py", f"--workdir={workdir}", "--config.data.frames=2",
        f"--config.weights.llava={tmp_path / 'hub'}", "--config.weights.dtype=float32",
    )  # fmt: skip
    done = run_script(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"--config=configs/imported.py:{workdir}" in done.stdout
    file = str(folders.ROOT / "configs" / "imported.py")
    config = runpy.run_path(file)["get_config"](workdir)
    assert config.sft.init_from == f"{workdir}/checkpoints/imported"
    assert config.data.tokenizer == f"{workdir}/tokenizer"
    assert (config.data.frames, config.data.image_size, config.data.framing) == (2, 8, "pad")
    assert config.model.language.width == 16
    again = run_script(*arguments)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    assert "already exists" in again.stderr


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, number, capfd):
    def edit(state):
        value = state["model.layers.1.mlp.up_proj.weight"].astype(np.float64)
        value[3, 4] = number  # 1e300 is infinite in float32
        state["model.layers.1.mlp.up_proj.weight"] = value

    folders.hub.hub_llama(folders.WORDS).save_pretrained(tmp_path / "hub")
    folders.save_tokenizer(tmp_path / "hub")
    folders.change(tmp_path / "hub", edit)
    refused(
        tmp_path / "run", r"hub: model.layers.1.mlp.up_proj.weight holds 1 values that are NaN or",
        language=tmp_path / "hub",
    )  # fmt: skip
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_attention_heads", 0), ("num_hidden_layers", 10**9), ("hidden_size", "16"),
        ("intermediate_size", True), ("num_key_value_heads", 3), ("rms_norm_eps", -1.0),
        ("rope_parameters", [1]), ("num_attention_heads", [[]]), ("tie_word_embeddings", "no"),
    ],
)  # fmt: skip
def test_absurd_settings_are_refused_by_key_and_value(tmp_path, key, value):
    folders.save_llama(tmp_path / "hub")
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config | {key: value}))
    shown = str(value).replace("[", r"\[")
    refused(tmp_path / "run", f"hub: .*{key}.*'?{shown}", language=tmp_path / "hub")


def test_files_that_json_cannot_hold_are_refused(tmp_path):
    folders.save_llama(tmp_path / "hub")
    for text in ("[" * 10**5, '{"hidden_size": ' + "9" * 5000 + "}", "\0", "null"):
        (tmp_path / "hub" / "config.json").write_text(text)
        refused(tmp_path / "run", "config.json is not", language=tmp_path / "hub")

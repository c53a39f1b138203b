"""PEFT adapters in our form: the same logits, and refusals that name the cause."""

import json
import logging

import hub_models as hub
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from orl_jax.models.llama import Llama
from orl_jax.models.params import combine, flatten
from orl_jax.run.errors import UserError
from orl_jax.weights.exporting import Request, export
from orl_jax.weights.names import PROJECTIONS
from orl_jax.weights.peft import projection_shapes, read_peft
from orl_jax.weights.peft_names import peft_config, peft_name

torch = pytest.importorskip("torch", reason="parity with PEFT needs torch")
peft = pytest.importorskip("peft", reason="parity with PEFT needs peft")

VOCABULARY = 11
MODULES = [name.rpartition(".")[2] for name in PROJECTIONS.values()]


def _model(family="plain"):
    return Llama(VOCABULARY, **hub.our_language(family))


def _adapted(**settings):
    """A model of `transformers` with a PEFT adapter, and its parameters without it."""
    base = hub.hub_llama(VOCABULARY)
    params = hub.our_params(base)
    config = peft.LoraConfig(**({"r": 4, "lora_alpha": 6, "target_modules": MODULES} | settings))
    model = peft.get_peft_model(base, config)
    with torch.no_grad():
        for seed, (name, value) in enumerate(model.named_parameters()):
            if "lora_" in name:
                value.normal_(std=0.3, generator=torch.Generator().manual_seed(seed))
    return model.eval(), params


@pytest.fixture
def folder(tmp_path):
    """A PEFT adapter of rank 2 for `_model()`."""
    _write(tmp_path, projection_shapes(_model()))
    return tmp_path


def _write(folder, shapes, rank=2, **settings):
    rng = np.random.default_rng(2)
    tensors = {}
    for ours, (width_in, width_out) in shapes.items():
        for layer in range(hub.LAYERS):
            sizes = {"lora_a": (rank, width_in), "lora_b": (width_out, rank)}
            for part, size in sizes.items():
                tensors[peft_name(ours, layer, part)] = rng.normal(size=size).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = peft_config(list(shapes), rank, 3.0, "") | settings
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return tensors


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},  # alpha / sqrt(rank)
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["o_proj", "up_proj"], "layers_to_transform": [1], "lora_dropout": 0.1},
    ],
    ids=["all", "rslora", "two_modules", "one_layer"],
)
def test_a_peft_adapter_gives_the_same_logits(tmp_path, settings):
    model, params = _adapted(**settings)
    model.save_pretrained(tmp_path)
    adapter = read_peft(tmp_path, _model())
    ours = hub.our_logits(combine(params, adapter.params), rank=adapter.rank, alpha=adapter.alpha)
    np.testing.assert_allclose(ours, hub.hub_logits(model), atol=1e-5)
    with model.disable_adapter():
        assert np.abs(ours - hub.hub_logits(model)).mean() > 0.01


def test_projections_without_an_adapter_get_a_fresh_one(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    _write(tmp_path, {"v": (16, 16)})
    layers = read_peft(tmp_path, _model()).params["language"]["layers"]
    assert set(layers) == set(PROJECTIONS)
    assert layers["v"]["lora_b"].any()
    assert not layers["q"]["lora_b"].any()
    # With both halves zero there would be no gradient: normal, 1/sqrt(16), as in LoRADense.
    assert layers["q"]["lora_a"].std() == pytest.approx(0.25, rel=0.3)
    assert "lacks 12 projections" in caplog.text  # 6 of 7, in two layers


@pytest.mark.parametrize("family", ["plain", "grouped"])
def test_an_exported_adapter_is_read_back_bit_for_bit(tmp_path, family):
    size = hub.save_tokenizer(tmp_path / "tokenizer")
    params = hub.with_adapters(hub.our_params(hub.hub_llama(size, family)))
    checkpoint = hub.save_checkpoint(
        tmp_path / "run", params, tmp_path / "tokenizer", family=family
    )
    adapter = read_peft(export(checkpoint, tmp_path / "out", Request("peft")), _model(family))
    assert (adapter.rank, adapter.alpha) == (hub.RANK, hub.ALPHA)
    expected = {path: value for path, value in flatten(params).items() if "lora_" in path}
    got = flatten(adapter.params)
    assert set(got) == set(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize(
    "place", ["", "lora_default", "adapter_model", "adapter_model/lora_default"]
)
@pytest.mark.parametrize("suffix", ["", ".default"])
def test_the_baselines_layouts_are_read(tmp_path, folder, place, suffix):
    """bfloat16 pickles in subfolders, with and without the adapter's name."""
    tensors = load_file(folder / "adapter_model.safetensors")
    state = {
        name.replace(".weight", f"{suffix}.weight"): torch.tensor(value).bfloat16()
        for name, value in tensors.items()
    }
    there = tmp_path / "theirs" / place
    there.mkdir(parents=True)
    torch.save(state, there / "adapter_model.bin")
    (there / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    lora_a = read_peft(tmp_path / "theirs", _model()).params["language"]["layers"]["down"]["lora_a"]
    expected = tensors[peft_name("down", 1, "lora_a")].astype(np.dtype("bfloat16"))
    np.testing.assert_array_equal(lora_a[1], expected.astype(np.float32).T)
    assert lora_a.dtype == np.float32


def test_an_adapter_of_another_base_is_refused_by_shape(tmp_path):
    """The baseline's "7b" adapter has the shapes of 13B."""
    wider = Llama(VOCABULARY, **(hub.our_language() | {"width": 20, "mlp_width": 28}))
    _write(tmp_path, projection_shapes(wider))
    with pytest.raises(
        UserError,
        match=r"0\.self_attn\.q_proj\.lora_A\.weight has shape \(2, 20\); .* need \(2, 16\)",
    ):
        read_peft(tmp_path, _model())


def test_more_layers_than_the_model_has_are_refused(folder):
    model = Llama(VOCABULARY, **(hub.our_language() | {"layers": 1}))
    with pytest.raises(UserError, match=r"adapts model\.layers\.1\..*; config.*layers is 1"):
        read_peft(folder, model)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
        {"init_lora_weights": "pissa"},
        {"lora_bias": True},
        {"layer_replication": [[0, 2], [1, 2]]},
        {"trainable_token_indices": [1, 2]},
    ],
    ids=lambda settings: "_".join(settings),
)
def test_settings_without_a_counterpart_are_refused_by_name(tmp_path, settings):
    model, _ = _adapted(**settings)
    model.save_pretrained(tmp_path)
    name, value = next(iter(settings.items()))
    named = value[-1] if name == "target_modules" else f"adapter_config.json: {name}="
    with pytest.raises(UserError, match=rf"{named}.*no counterpart"):
        read_peft(tmp_path, _model())


def test_a_vision_towers_adapter_is_refused_by_name(folder):
    """Target names such as "q_proj" also match CLIP's modules if the tower was loaded first."""
    path = folder / "adapter_model.safetensors"
    name = "base_model.model.model.vision_tower.vision_tower.encoder.layers.0.self_attn.q_proj"
    save_file(load_file(path) | {f"{name}.lora_A.weight": np.ones((2, 16), np.float32)}, path)
    with pytest.raises(UserError, match=r"vision_tower.*q_proj\.lora_A\.weight has no counterpart"):
        read_peft(folder, _model())


class _Code:
    def __reduce__(self):
        return print, ("run by a pickle",)


def test_a_pickle_with_code_is_not_run(folder, capsys):
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": _Code()}, folder / "adapter_model.bin")
    with pytest.raises(UserError, match=r"adapter_model\.bin"):
        read_peft(folder, _model())
    assert "run by a pickle" not in capsys.readouterr().out


def _drop(folder, name):
    path = folder / "adapter_model.safetensors"
    save_file({key: value for key, value in load_file(path).items() if key != name}, path)


def _set(folder, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def _change(folder, form):
    """Every tensor in another form."""
    path = folder / "adapter_model.safetensors"
    save_file({key: form(value) for key, value in load_file(path).items()}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: _drop(f, peft_name("up", 1, "lora_b")), r"1\.mlp\.up_proj\.lora_B\.weight is m"),
        (lambda f: (f / "adapter_config.json").unlink(), "holds no adapter_config.json"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "is not a JSON object"),
        (lambda f: _set(f, r=2.0), "is not the configuration of a LoRA adapter: r is 2.0"),
        (lambda f: _set(f, r=True), "r is True; it must be an integer"),
        (lambda f: _set(f, lora_alpha="8"), "lora_alpha is '8'; it must be a number"),
        (lambda f: _set(f, lora_alpha=1e30), "lora_alpha is 1e.30; it must be a number"),
        (lambda f: _change(f, lambda x: x.astype(np.int8)), "is of I8, not of floats"),
        (lambda f: _change(f, lambda x: x * np.nan), "values that are NaN or infinite as float32"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "holds neither adapter_model.safe"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"abc"), "adapter_model.safeten"),
        (lambda f: save_file({}, f / "adapter_model.safetensors"), "holds no tensors"),
        (lambda f: _set(f, peft_type="IA3"), "peft_type is 'IA3'"),
        (lambda f: _set(f, r=0), "r is 0"),
        (lambda f: _set(f, r=3), r"has shape \(2, 16\); this model and r=3 need \(3, 16\)"),
    ],
)
def test_damaged_adapters_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message):
        read_peft(folder, _model())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        read_peft(tmp_path / "nowhere", _model())

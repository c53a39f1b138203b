"""Our greedy responses match `transformers` token for token: prefill, cache, early ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import FRAMES, make_llama, make_vlm, random_params

from orl_jax.models.sampler import sample
from orl_jax.models.sequences import Prompt

torch = pytest.importorskip("torch", reason="the peer is transformers on torch")

from hub_models import hub_llama, our_language, our_params  # noqa: E402

VOCABULARY, PAD, IMAGE = 31, 0, 30
PROMPTS, LENGTH, TOKENS = 50, 9, 12


@pytest.fixture(scope="module")
def prompts():
    """Left-padded ids of 3 to 9 tokens, none of them <image>, and their mask."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, LENGTH + 1, (PROMPTS, 1))
    mask = np.arange(LENGTH) >= LENGTH - lengths
    ids = rng.integers(PAD + 1, IMAGE, mask.shape)
    return np.where(mask, ids, PAD), mask


@pytest.mark.parametrize("family", ["plain", "grouped", "tied", "llama3"])
def test_greedy_responses_match_generate(prompts, family):
    ids, mask = prompts
    theirs = hub_llama(VOCABULARY, family)
    end = a_common_token(generate(theirs, ids, mask))
    said = generate(theirs, ids, mask, eos_token_id=end)
    assert (said == end).any() and (said != end).all(axis=1).any()  # some ended, some did not
    np.testing.assert_array_equal(greedy(theirs, family, end, ids, mask), said)


def generate(model, ids, mask, **settings):
    """The responses [prompts, T] of transformers."""
    with torch.no_grad():
        out = model.generate(
            torch.tensor(ids), attention_mask=torch.tensor(mask.astype("i8")), do_sample=False,
            max_new_tokens=TOKENS, pad_token_id=PAD, **settings,
        )  # fmt: skip
    said = out[:, LENGTH:].numpy()
    return np.pad(said, ((0, 0), (0, TOKENS - said.shape[1])), constant_values=PAD)


def a_common_token(said):
    """A token that about half of the responses contain, to serve as the end token."""
    share = np.array([(said == token).any(axis=1).mean() for token in range(PAD + 1, IMAGE)])
    return int(np.argmin(np.abs(share - 0.5))) + PAD + 1


def greedy(theirs, family, end, ids, mask):
    """Our responses [prompts, T] with the weights of a model of transformers."""
    settings = our_language(family) | {"vocabulary": VOCABULARY, "lora_rank": 0}
    model = make_vlm(**settings).clone(image_id=IMAGE)
    frames = jnp.zeros((1, FRAMES, 8, 8, 3), jnp.uint8)
    prompt = Prompt(jnp.asarray(ids, jnp.int32), jnp.asarray(mask))
    params = random_params(model, frames, jax.tree.map(lambda x: x[:1], prompt))
    params = {**params, **jax.tree.map(jnp.asarray, our_params(theirs))}
    rollout = jax.jit(
        lambda *inputs: sample(
            model, params, *inputs, group_size=1, max_tokens=TOKENS, temperature=0.0,
            end_id=end, pad_id=PAD,
        )
    )(
        jnp.zeros((PROMPTS, 2, make_llama(**settings).width)), prompt,
        jnp.zeros(VOCABULARY, bool), jax.random.key(0),
    )  # fmt: skip
    return np.asarray(rollout.ids[:, 0])

"""Sampled responses: their tokens, noise and log-probabilities, and when the loop ends."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import (
    BANNED,
    END,
    PAD,
    VOCABULARY,
    make_params,
    make_prompts,
    make_vlm,
    plain_hidden,
)

from orl_jax.models import sampler
from orl_jax.models.sequences import Responses
from orl_jax.models.vlm import VLM
from orl_jax.ops.log_probs import token_log_probs
from orl_jax.ops.truncation import WHOLE, Truncation

B, G, T = 3, 8, 6


def make_sample(**changes):
    """A compiled sampler: (params, prompts, key) -> rollout in numpy."""
    settings = {
        "group_size": G, "max_tokens": T, "temperature": 1.0, "end_id": END, "pad_id": PAD,
    }  # fmt: skip
    draw = jax.jit(partial(sampler.sample, make_vlm(), **(settings | changes)))

    def sample(params=None, seed=0):
        params = make_params() if params is None else params
        rollout = draw(params, *make_prompts(B), BANNED, jax.random.key(seed))
        return jax.tree.map(np.asarray, rollout)

    return sample


@pytest.fixture(scope="module")
def sample():
    return make_sample()


@lru_cache
def likeliest(*tokens, logit=60.0):
    """Parameters that give some tokens the same, by far highest logit, whatever the input.

    The first channel of all embeddings is so large that the last norm makes it sqrt(width).
    """
    params = jax.tree.map(jnp.copy, make_params())
    language = params["language"]
    language["embedding"] = language["embedding"].at[:, 0].set(1e4)
    language["norm"]["scale"] = jnp.ones(8)
    kernel = np.zeros((8, VOCABULARY), np.float32)
    kernel[0, list(tokens)] = logit / np.sqrt(8)
    language["lm_head"] = jnp.asarray(kernel)
    return params


def test_banned_tokens_are_never_sampled_even_if_most_likely(sample):
    rollout = sample(likeliest(*np.flatnonzero(BANNED).tolist()))
    assert not np.asarray(BANNED)[rollout.ids[rollout.mask]].any()
    # the others are equally likely among themselves
    np.testing.assert_allclose(rollout.log_prob[rollout.mask], -np.log(VOCABULARY - 2), atol=1e-4)


def test_mask_includes_the_end_and_padding_follows(sample):
    rollout = sample()
    ended = 0
    for ids, mask, log_prob in zip(*(x.reshape(B * G, T) for x in rollout), strict=True):
        ends = np.flatnonzero(ids == END)
        length = ends[0] + 1 if len(ends) else T
        ended += length < T
        assert mask.tolist() == [True] * length + [False] * (T - length)
        assert (ids[:length] > END - 1).all()
        assert (ids[length:] == PAD).all()
        assert (log_prob[:length] < 0).all()
        assert (log_prob[length:] == 0).all()
    assert 3 < ended < B * G  # both kinds occurred


@pytest.mark.parametrize("truncation", [WHOLE, Truncation(top_k=6, top_p=0.9, min_p=0.02)])
def test_log_probs_are_those_of_the_training_graph(sample, truncation):
    model, prompts = make_vlm(), make_prompts(B)
    rollout = make_sample(truncation=truncation)() if truncation else sample()

    @jax.jit
    def score(params, ids, mask):
        apply = partial(model.apply, {"params": params})
        hidden = apply(*prompts, Responses(ids, mask), method=VLM.hidden_states)
        kernel = apply(method=VLM.vocabulary_kernel)
        return token_log_probs(hidden, kernel, ids, banned=BANNED, truncation=truncation)

    scored = score(make_params(), rollout.ids, rollout.mask).log_prob
    np.testing.assert_allclose(scored[rollout.mask], rollout.log_prob[rollout.mask], atol=1e-5)


def test_greedy_takes_the_most_likely_token_of_the_full_forward():
    rollout = make_sample(group_size=1, temperature=0.0)()
    params = make_params()
    responses = Responses(jnp.asarray(rollout.ids), jnp.asarray(rollout.mask))
    hidden = jax.jit(partial(plain_hidden, make_vlm()))(params, make_prompts(B), responses)
    logits = np.array(hidden @ params["language"]["lm_head"])
    logits[..., np.asarray(BANNED)] = -np.inf
    mask = rollout.mask
    np.testing.assert_array_equal(logits.argmax(axis=-1)[mask], rollout.ids[mask])
    log_probs = jax.nn.log_softmax(logits).max(axis=-1)
    np.testing.assert_allclose(rollout.log_prob[mask], log_probs[mask], atol=1e-5)
    assert len(set(rollout.ids[mask].tolist())) > 2


def test_the_first_of_a_group_can_be_greedy():
    def draw(**changes):
        settings = {"max_tokens": T, "temperature": 1.0, "end_id": END, "pad_id": PAD} | changes
        keys = jax.random.split(jax.random.key(3), B)
        return sampler.sample(
            make_vlm(), make_params(), *make_prompts(B), BANNED, keys, **settings
        )  # fmt: skip

    both = draw(group_size=5, greedy=2)
    greedy, drawn = draw(group_size=2, temperature=0.0), draw(group_size=3)
    for name in ("ids", "mask", "log_prob"):
        apart = np.concatenate([getattr(greedy, name), getattr(drawn, name)], axis=1)
        np.testing.assert_allclose(getattr(both, name), apart, atol=1e-5, err_msg=name)


def test_the_key_decides(sample):
    first, again, other = sample(seed=1), sample(seed=1), sample(seed=2)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first.ids != other.ids).mean() > 0.5


def test_noise_is_fresh_for_every_prompt_response_and_step(sample):
    tokens = tuple(range(END + 1, VOCABULARY))  # all equally likely, whatever the input
    ids = sample(likeliest(*tokens)).ids
    for axis in range(3):
        change = np.diff(ids, axis=axis)
        assert (change != 0).mean() > 0.7, axis  # 0.9 is expected
    rows = {tuple(row) for row in ids.reshape(-1, T).tolist()}
    assert len(rows) == B * G


def count_steps(monkeypatch, params):
    """A rollout, and how often the loop's body ran."""
    steps = []
    record = sampler._record

    def counting(*args):
        jax.debug.callback(lambda: steps.append(1))
        return record(*args)

    monkeypatch.setattr(sampler, "_record", counting)
    sample = make_sample()
    rollouts = []
    for value in params:
        steps.clear()
        rollout = sample(value)
        jax.effects_barrier()
        rollouts.append((rollout, len(steps)))
    return rollouts


def test_the_loop_ends_with_the_last_response(monkeypatch):
    at_once, never, some = count_steps(
        monkeypatch, [likeliest(END), likeliest(5), likeliest(5, END)]
    )
    rollout, steps = at_once
    assert steps == 1
    assert (rollout.ids[..., 0] == END).all()
    assert (rollout.ids[..., 1:] == PAD).all()
    rollout, steps = never
    assert steps == T
    assert (rollout.ids == 5).all()
    assert rollout.mask.all()
    rollout, steps = some  # about one in 32 of the 24 responses reaches five tokens
    assert steps == rollout.mask.sum(axis=-1).max()
    assert rollout.mask.sum(axis=-1).min() == 1


def test_frequencies_follow_the_temperature():
    group, temperature = 3000, 0.5
    rollout = make_sample(group_size=group, max_tokens=1, temperature=temperature)()
    model, params = make_vlm(), {"params": make_params()}

    @jax.jit
    def likelihood():
        hidden, _ = model.apply(params, *make_prompts(B), method=VLM.prefill)
        logits = hidden @ model.apply(params, method=VLM.vocabulary_kernel)
        return jax.nn.softmax(jnp.where(BANNED, -jnp.inf, logits / temperature))

    expected = np.asarray(likelihood())
    for row in range(B):
        counts = np.bincount(rollout.ids[row, :, 0], minlength=VOCABULARY)
        deviation = np.sqrt(expected[row] * (1 - expected[row]) / group)
        assert (np.abs(counts / group - expected[row]) <= 4.5 * deviation + 1e-6).all()
    chosen = np.take_along_axis(expected, rollout.ids[..., 0], axis=1)
    np.testing.assert_allclose(rollout.log_prob[..., 0], np.log(chosen), atol=1e-4)


def test_samples_in_half_precision():
    model = make_vlm(dtype="bfloat16")
    draw = partial(
        sampler.sample, model, group_size=2, max_tokens=3, temperature=1.0, end_id=END, pad_id=PAD
    )
    prompts = make_prompts(B)
    prompts = prompts._replace(visual=prompts.visual.astype(jnp.bfloat16))
    out = jax.eval_shape(draw, make_params(), *prompts, BANNED, jax.random.key(0))
    assert out.ids.shape == (B, 2, 3)
    assert out.log_prob.dtype == jnp.float32

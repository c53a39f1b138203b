"""The policy on its devices: it sees videos, samples groups of responses, scores them, is updated.

Each of these is one jitted function, which compiles when it is first called.
"""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.models.assembly import Assembly, banned_tokens
from orl_jax.models.params import combine, policy_of
from orl_jax.models.sampler import sample
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.sharding.layout import Layout
from orl_jax.models.vlm import VLM
from orl_jax.rl.algorithms import Algorithm
from orl_jax.rl.batch import RolloutBatch
from orl_jax.rl.scorer import Scorer
from orl_jax.training.state import TrainState, shardings, start

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How groups are sampled; temperature and truncation are the scorer's.

    Attributes:
      group_size: G, responses to a prompt.
      max_tokens: T, the most tokens of a response.
      end_id, pad_id: the end-of-sequence token, and the filler after it.
    """

    group_size: int
    max_tokens: int
    end_id: int
    pad_id: int

    @classmethod
    def of(cls, rl: ConfigDict, encoder: PromptEncoder) -> "Sampling":
        """Of `config.rl` and the special tokens of an encoder."""
        return cls(rl.group_size, rl.max_response_tokens, encoder.end_id, encoder.pad_id)


class DevicePolicy:
    """A policy with what it is trained by.

    Args:
      assembly: the model, the encoder of its prompts, and where its arrays live.
      algorithm: scores responses and makes the update.
      sampling: see `Sampling`.
      trained: parameters before the first step.
      frozen: all other parameters.
      seed: of the noise.

    Attributes:
      encode: jitted `encode`: (trained, frozen, frames) -> media.
      rollout: jitted `rollout`: (state, frozen, banned, media, prompt, number) -> `Responses`.
      score: jitted `score`: (state, frozen, banned, batch) -> log-probabilities [B, G, T].
      update: the algorithm's jitted step: (state, frozen, banned, batch) -> see `GrpoRank.step`.
    """

    def __init__(
        self,
        assembly: Assembly,
        algorithm: Algorithm,
        sampling: Sampling,
        trained: Params,
        frozen: Params,
        seed: int = 0,
    ) -> None:
        self.algorithm = algorithm
        self.sampling = sampling
        self.encoder: PromptEncoder = assembly.encoder
        self.layout: Layout = assembly.layout
        self.trained = trained
        self.frozen = frozen
        self.banned = banned_tokens(assembly)
        self._seed = seed
        self._compile()

    def _compile(self) -> None:
        algorithm, scorer = self.algorithm, self.algorithm.scorer
        rows, whole, jit = self.layout.batch, self.layout.whole, self.layout.jit
        places = shardings(self.trained, algorithm.optimizer, self.layout, with_reference=True)
        self.encode = jit(partial(encode, scorer.model, scorer.adapter_trained), out_shardings=rows)
        self.rollout = jit(partial(rollout, scorer, self.sampling), out_shardings=rows)
        self.score = jit(partial(score, scorer), out_shardings=rows)
        step = partial(type(algorithm).step, algorithm)
        self.update = jit(step, donate_argnums=0, out_shardings=(places, whole, rows))

    def start(self) -> TrainState:
        """The state before the first step: the reference is a copy of what is trained."""
        optimizer = self.algorithm.optimizer
        return start(self.trained, optimizer, self._seed, self.layout, with_reference=True)

    def see(self, state: TrainState, frames: np.ndarray) -> Array:
        """The media of clips uint8 [rows of this process, F, H, W, 3]."""
        return self.encode(state.trained, self.frozen, self.layout.rows(frames))

    def respond(
        self, state: TrainState, number: int, prompt: Prompt, media: Array, *, scored: bool = False
    ) -> RolloutBatch:
        """A rollout of the policy in `state`, without a judgement.

        Args:
          number: of the step, which decides the noise.
          prompt: on the devices, as is `media`.
          scored: whether with `old_log_prob`, for an update of a later policy.
        """
        count = self.layout.replicate(np.asarray(number, np.int32))
        responses = self.rollout(state, self.frozen, self.banned, media, prompt, count)
        batch = RolloutBatch(media, prompt, responses)
        if not scored:
            return batch
        old = self.score(state, self.frozen, self.banned, batch)
        return batch._replace(old_log_prob=old)

    def texts(self, responses: Responses) -> list[list[tuple[str, bool]]]:
        """Of each prompt of this process its responses, each with whether it was cut off."""
        ids = self.layout.local_rows(responses.ids)
        return [[self.encoder.decode(row) for row in group] for group in ids]


def encode(
    model: VLM, adapter_trained: bool, trained: Params, frozen: Params, frames: Array
) -> Float[Array, "B ..."]:
    """Visual tokens; features where the adapter is trained and must stay in the update's graph."""
    variables = {"params": combine(frozen, policy_of(trained))}
    features = model.apply(variables, frames, method=VLM.encode)
    return features if adapter_trained else model.apply(variables, features, method=VLM.adapt)


def rollout(
    scorer: Scorer,
    sampling: Sampling,
    state: TrainState,
    frozen: Params,
    banned: Array,
    media: Array,
    prompt: Prompt,
    number: Int[Array, ""],
) -> Responses:
    """Groups of responses by the policy of `state`, with the noise of the step `number`."""
    model, params = scorer.model, combine(frozen, policy_of(state.trained))
    if scorer.adapter_trained:
        media = model.apply({"params": params}, media, method=VLM.adapt)
    return sample(
        model, params, media, prompt, banned, state._replace(step=number).step_key(),
        group_size=sampling.group_size, max_tokens=sampling.max_tokens,
        temperature=scorer.temperature, truncation=scorer.truncation,
        end_id=sampling.end_id, pad_id=sampling.pad_id,
    )  # fmt: skip


def score(
    scorer: Scorer, state: TrainState, frozen: Params, banned: Array, batch: RolloutBatch
) -> Float[Array, "B G T"]:
    """Log-probabilities of sampled tokens under the policy of `state`, in the training graph."""
    params = combine(frozen, policy_of(state.trained))
    return scorer.policy_log_prob(params, banned, batch)

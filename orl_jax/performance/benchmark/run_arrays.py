"""What a run of the stage "rl" holds on its devices, with random numbers in it.

The arrays have the shapes of `orl_jax.performance.plan.run_shapes`. Prompts and responses have no
padding, and the end token is banned, so no response ends early: every run does the same work.
"""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import numpy as np

from orl_jax.models.decoding_form import decoding_form
from orl_jax.models.params import combine, masters, partition
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm import VLM
from orl_jax.performance.benchmark.compiled_steps import CompiledSteps
from orl_jax.performance.benchmark.random_params import random_params
from orl_jax.performance.plan.run_shapes import RunShapes
from orl_jax.performance.plan.shapes import Shapes
from orl_jax.rl.algorithms import with_value_model
from orl_jax.rl.batch import Judgement, RolloutBatch
from orl_jax.training.state import TrainState, start


@dataclasses.dataclass(frozen=True)
class RunArrays(RunShapes):
    """The arrays of a run, each made on first use.

    Attributes:
      shapes: of the config.
      programs: for the same shapes.
      pretrained: parameters; missing ones are random.
      text: ids of the prompts [B, L]; None makes random prompts, each with a video.

    Example: `RunArrays(shapes, CompiledSteps(shapes)).media.shape`.
    """

    shapes: Shapes
    programs: CompiledSteps
    pretrained: dict[str, Any] | None = None
    text: np.ndarray | None = None

    @property
    def _random(self) -> np.random.Generator:
        return np.random.default_rng(self.shapes.config.seed)

    @cached_property
    def _split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        shapes, seed = self.shapes.params(self.model), self.shapes.config.seed
        drawn = random_params(shapes, seed, fresh_adapters=True)
        params = combine(drawn, self.pretrained or {})
        trained, frozen = partition(params, self.shapes.config.rl.trainable)
        return masters(trained), frozen

    @cached_property
    def state(self) -> TrainState:
        """Before the first step, as a run begins."""
        shapes, config = self.shapes, self.shapes.config
        trained = self._split[0]
        if config.rl.algorithm == "ppo":
            trained = with_value_model(trained, config.model.language.width, shapes.layout)
        return self.fresh(trained)

    def fresh(self, trained: dict[str, Any]) -> TrainState:
        """A new state, which may be donated; `trained` is copied."""
        layout, config = self.shapes.layout, self.shapes.config
        optimizer = self.shapes.optimizer(config.rl)
        copied = jax.tree.map(lambda leaf: leaf.copy(), trained)
        return start(copied, optimizer, config.seed, layout, with_reference=True)

    @cached_property
    def banned(self) -> jax.Array:
        """The padding, media and end tokens."""
        tokens = self.shapes.tokens
        banned = np.zeros(tokens.vocabulary_size, bool)
        banned |= getattr(tokens, "banned_ids", False)
        banned[[tokens.pad_id, tokens.image_id, tokens.end_id]] = True
        return self.shapes.layout.replicate(banned)

    def _ids(self, *shape: int) -> np.ndarray:
        """Random tokens that may be sampled."""
        allowed = np.flatnonzero(~np.asarray(self.banned))
        return self._random.choice(allowed, shape).astype(np.int32)

    @cached_property
    def frames(self) -> jax.Array:
        """Frames of noise."""
        shape = self.shapes.video(self.shapes.config.rl.batch_size).shape
        return self.shapes.layout.rows(self._random.integers(0, 256, shape, np.uint8))

    @cached_property
    def prompt(self) -> Prompt:
        """Prompts that start with a video's tokens, without padding."""
        ids = self.text
        if ids is None:
            ids = self._ids(*self.shapes.prompt(self.shapes.config.rl.batch_size).ids.shape)
            ids[:, : self.shapes.settings.visual_tokens] = self.shapes.tokens.image_id
        return self.shapes.layout.rows(Prompt(ids, np.ones(ids.shape, bool)))

    @cached_property
    def media(self) -> jax.Array:
        """The encoder's output for the frames; zeros for given texts, which have no video."""
        if self.text is not None:
            planned = RunShapes(self.shapes).media
            return self.shapes.layout.rows(np.zeros(planned.shape, planned.dtype))
        return self.programs["encode"].run(self.state.trained, self.frozen, self.frames)

    def judgement(self, rows: int) -> Judgement:
        """The judgement, on the host, of an Oracle that takes no time."""
        group = self.shapes.config.rl.group_size
        ranks = np.tile(np.arange(1, group + 1, dtype=np.float32), (rows, 1))
        return Judgement(ranks, group - ranks, np.ones(rows, bool))

    @cached_property
    def batch(self) -> RolloutBatch:
        """A rollout of random tokens."""
        rows, section = self.shapes.layout.rows, self.shapes.config.rl
        shape = (section.batch_size, section.group_size, section.max_response_tokens)
        log_prob = np.full(shape, -3.0, np.float32)
        responses = Responses(self._ids(*shape), np.ones(shape, bool), log_prob)
        judgement = self.judgement(section.batch_size)
        return RolloutBatch(self.media, self.prompt, rows(responses), rows(judgement))

    @cached_property
    def sampled(self) -> tuple[VLM, dict[str, Any]]:
        """The policy in the form that a rollout uses."""
        model, _ = super().sampled
        return model, jax.jit(lambda params: decoding_form(self.model, params)[1])(self.params)

    @property
    def begun(self) -> Any:
        """Made on every access: a decoding step donates it, and its caches are large."""
        return self.programs["prefill"].run(self.params, self.media, self.prompt)

    def filled(self, args: Any) -> Any:
        """The arguments of a step; remaining shapes, such as the step's number, become zeros."""

        def fill(leaf: Any) -> jax.Array:
            if isinstance(leaf, jax.Array):
                return leaf
            return jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)

        return jax.tree.map(fill, args)

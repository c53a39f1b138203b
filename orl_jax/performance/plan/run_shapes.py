"""What a run of the stage "rl" holds on its devices between steps, as shapes with shardings."""

import dataclasses
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from orl_jax.models import sampler
from orl_jax.models.decoding_form import decoding_form
from orl_jax.models.params import combine, flatten, policy_of
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.sharding.mesh import BATCH
from orl_jax.models.sharding.rules import fitting
from orl_jax.models.vlm import VLM
from orl_jax.performance.plan.shapes import Shapes
from orl_jax.rl import device_policy
from orl_jax.rl.algorithms import Algorithm, make_algorithm
from orl_jax.rl.batch import Judgement, RolloutBatch
from orl_jax.training.state import TrainState

Shape = jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True)
class RunShapes:
    """The arrays of a config's RL run, each computed on first use.

    Attributes:
      shapes: of the config.
    """

    shapes: Shapes

    @cached_property
    def model(self) -> VLM:
        """The policy."""
        return self.shapes.assembly.model

    @cached_property
    def _split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.shapes.split(self.model, self.shapes.config.rl.trainable)

    @cached_property
    def frozen(self) -> dict[str, Any]:
        """Parameters that are not trained."""
        return self._split[1]

    @cached_property
    def state(self) -> TrainState:
        """Trained parameters, reference and optimiser; for PPO, also the value model."""
        policy, section = self._split[0], self.shapes.config.rl
        trained = policy
        if section.algorithm == "ppo":
            trained = {**policy, "value": self.shapes.value_model(policy)}
        return self.shapes.state(trained, section, reference=True)

    @cached_property
    def adapter_trained(self) -> bool:
        """Whether media are features that the adapter still has to process."""
        return any(path.startswith("adapter/") for path in flatten(self._split[0]))

    @cached_property
    def algorithm(self) -> Algorithm:
        """The algorithm of `config.rl`."""
        shapes = self.shapes
        return make_algorithm(
            shapes.config, self.model, shapes.optimizer(shapes.config.rl),
            adapter_trained=self.adapter_trained, end_id=shapes.tokens.end_id,
        )  # fmt: skip

    @cached_property
    def banned(self) -> Shape:
        """Tokens that are never sampled."""
        return self.shapes.whole((self.shapes.tokens.vocabulary_size,), bool)

    @property
    def always(self) -> tuple[Any, ...]:
        """Everything that is alive at all times."""
        return self.state, self.frozen, self.banned

    @cached_property
    def params(self) -> dict[str, Any]:
        """The policy's parameters, frozen and trained."""
        return combine(self.frozen, policy_of(self.state.trained))

    @cached_property
    def codes(self) -> dict[str, Shape]:
        """Quantised kernels by path."""
        return {p: leaf for p, leaf in flatten(self.frozen).items() if p.endswith("/codes")}

    @cached_property
    def frames(self) -> Shape:
        """The frames of a step's videos."""
        return self.shapes.video(self.shapes.config.rl.batch_size)

    @cached_property
    def prompt(self) -> Prompt:
        """The prompts of a step."""
        return self.shapes.prompt(self.shapes.config.rl.batch_size)

    @cached_property
    def media(self) -> Shape:
        """The encoder's output for the frames."""
        encode = partial(device_policy.encode, self.model, self.adapter_trained)
        media = self.shapes.result(encode, self.state.trained, self.frozen, self.frames)
        return self.shapes.rows(media.shape, media.dtype)

    @property
    def while_sampling(self) -> tuple[Any, ...]:
        """Everything that is alive during a rollout, apart from its caches."""
        return self.always, self.frames, self.media, self.prompt

    @cached_property
    def batch(self) -> RolloutBatch:
        """What the update reads from a rollout."""
        section, rows = self.shapes.config.rl, self.shapes.rows
        group = (section.batch_size, section.group_size)
        tokens = (*group, section.max_response_tokens)
        responses = Responses(
            rows(tokens, jnp.int32), rows(tokens, bool), rows(tokens, jnp.float32)
        )
        numbers = (rows(group, jnp.float32) for _ in range(2))  # distinct objects: each counts
        judgement = Judgement(*numbers, rows(group[:1], bool))
        return RolloutBatch(self.media, self.prompt, responses, judgement)

    def begin(self, params: dict[str, Any], media: Any, prompt: Prompt) -> Any:
        """`sampler.begin` as a rollout calls it: (params, media, prompt) -> (prefix, state)."""
        section = self.shapes.config.rl
        if self.adapter_trained:
            media = self.model.apply({"params": params}, media, method=VLM.adapt)
        return sampler.begin(
            *decoding_form(self.model, params), media, prompt, group_size=section.group_size,
            max_tokens=section.max_response_tokens, pad_id=self.shapes.tokens.pad_id,
        )  # fmt: skip

    @cached_property
    def sampled(self) -> tuple[VLM, dict[str, Any]]:
        """The model and its parameters in the form that a rollout uses; see `decoding_form`.

        Where these are the policy's own, a run holds them once.
        """
        models: list[VLM] = []

        def prepared(params: dict[str, Any]) -> dict[str, Any]:
            model, new = decoding_form(self.model, params)
            models.append(model)
            return {} if new is params else new

        tree = self.shapes.result(prepared, self.params)
        if not tree:
            return self.model, self.params
        return models[0], self.shapes.placed(tree, self.shapes.layout.params(tree))

    @cached_property
    def begun(self) -> Any:
        """The result of `begin`, with its shardings in a rollout."""
        tree = self.shapes.result(self.begin, self.params, self.media, self.prompt)
        return self.shapes.placed(tree, jax.tree.map(self._place, tree))

    def _place(self, leaf: Any) -> jax.sharding.NamedSharding:
        """Caches are sharded by rows and heads, other batches by rows; the rest is replicated.

        A cache has six axes, or five where each layer has its own array.
        """
        layout = self.shapes.layout
        axes: tuple[Any, ...] = ()
        if leaf.ndim == 6:
            axes = (None, BATCH, "tensor", None, None, None)
        elif leaf.ndim == 5:
            axes = (BATCH, "tensor", None, None, None)
        elif leaf.ndim and leaf.shape[0] == self.shapes.config.rl.batch_size:
            axes = (BATCH, *(None,) * (leaf.ndim - 1))
        cut = fitting(axes, leaf.shape, layout.mesh.shape) if axes else ()
        return jax.sharding.NamedSharding(layout.mesh, jax.sharding.PartitionSpec(*cut))

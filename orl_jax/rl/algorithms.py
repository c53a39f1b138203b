"""From `config.rl` to the one jitted step: grpo_rank, grpo or ppo; how many steps there are."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from orl_jax.models.assembly import load_auxiliary, load_params
from orl_jax.models.params import combine, flatten, policy_of
from orl_jax.models.sharding.layout import Layout
from orl_jax.models.value import initial_head
from orl_jax.models.vlm import VLM
from orl_jax.rl.batch import RolloutBatch
from orl_jax.rl.grpo_rank import GrpoRank, Settings
from orl_jax.rl.ppo import Ppo, PpoSettings
from orl_jax.rl.scorer import Scorer
from orl_jax.run.errors import UserError
from orl_jax.training.state import TrainState


def make_step(
    config: ConfigDict,
    model: VLM,
    optimizer: optax.GradientTransformation,
    *,
    adapter_trained: bool,
    end_id: int,
) -> Callable[..., Any]:
    """The step of the config's algorithm, (state, frozen, banned, batch) -> see `GrpoRank.step`."""
    if config.rl.algorithm != "ppo":
        settings = Settings.from_config(config, adapter_trained=adapter_trained)
        return GrpoRank(model, optimizer, settings).step
    scorer = make_scorer(config, model, adapter_trained)
    return Ppo(scorer, optimizer, PpoSettings.from_config(config), end_id).step


def total_steps(rl: ConfigDict, items: int) -> int:
    """Steps of the stage: of `rl.epochs` passes over the prompts or, where that is 0, `rl.steps`.

    Example: with 4 epochs of 100 prompts and a batch size of 64 there are 6.
    """
    epochs = rl.get("epochs", 0)
    return max(epochs * items // rl.batch_size, 1) if epochs else rl.steps


def make_log_prob(
    config: ConfigDict, model: VLM, *, adapter_trained: bool
) -> Callable[..., Float[Array, "B G T"]]:
    """Log-probabilities of sampled tokens under the policy of a state, in the training graph.

    Returns:
      (state, frozen, banned, batch) -> [B, G, T]; of the batch the Oracle's part is not read.
    """
    scorer = make_scorer(config, model, adapter_trained)

    def log_prob(
        state: TrainState, frozen: dict[str, Any], banned: Array, batch: RolloutBatch
    ) -> Float[Array, "B G T"]:
        params = combine(frozen, policy_of(state.trained))

        def of_part(part: RolloutBatch) -> Array:
            return scorer.log_probs(scorer.states(params, part), banned, part).log_prob

        return scorer.without_gradient(of_part, batch)

    return log_prob


def make_scorer(config: ConfigDict, model: VLM, adapter_trained: bool) -> Scorer:
    """How the config scores rollouts."""
    rl = config.rl
    return Scorer(
        model, rl.temperature, config.model.vocabulary_chunk, rl.micro_batch, adapter_trained
    )


def updates_a_step(config: ConfigDict) -> int:
    """Optimiser updates in one RL step."""
    passes = config.rl.updates_per_rollout
    return passes * config.rl.ppo.minibatches if config.rl.algorithm == "ppo" else passes


def trained_parameters(
    config: ConfigDict,
    policy: dict[str, Any],
    width: int,
    layout: Layout,
    reward_model: str = "",
) -> dict[str, Any]:
    """What the algorithm trains: the policy's parameters, for PPO also a value model.

    Args:
      policy: the policy's trained parameters.
      width: of the language model's hidden states.
      layout: where they live.
      reward_model: a checkpoint of the stage "reward"; where given, the value model starts from it.
        "" starts it as a copy of the policy with a head of zeros.

    Raises:
      UserError: the checkpoint is missing or lacks a parameter that the policy trains.
    """
    if config.rl.algorithm != "ppo":
        return policy
    if not reward_model:
        head = layout.replicate(initial_head(width))
        return {**policy, "value": {**jax.tree.map(jnp.copy, policy), "head": head}}
    head = layout.replicate(load_auxiliary(reward_model, "heads")["reward"])
    value = layout.place(_like(policy, reward_model))
    return {**policy, "value": {**value, "head": head}}


def _like(policy: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """The parameters of a checkpoint that `policy` has, in its structure."""
    stored, wanted = flatten(load_params(path)), flatten(policy)
    for name, leaf in wanted.items():
        if name not in stored or stored[name].shape != leaf.shape:
            raise UserError(
                f"{path} has no {name} of shape {leaf.shape}, which the value model needs; train "
                "the reward model with the same config.model and trainable parameters"
            )
    return unflatten_dict({name: stored[name] for name in wanted}, sep="/")

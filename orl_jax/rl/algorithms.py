"""From `config.rl` to the one jitted step, put together from its parts."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from orl_jax.models.assembly import load_auxiliary, load_params
from orl_jax.models.params import flatten
from orl_jax.models.sharding.layout import Layout
from orl_jax.models.value import initial_head
from orl_jax.models.vlm import VLM
from orl_jax.rl.direct import DirectLoss
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.grpo_rank import GrpoRank
from orl_jax.rl.policy_loss import PolicyLossSettings
from orl_jax.rl.ppo import Ppo, PpoSettings
from orl_jax.rl.scorer import Scorer
from orl_jax.run.errors import UserError

Algorithm = GrpoRank | Ppo


def make_algorithm(
    config: ConfigDict,
    model: VLM,
    optimizer: optax.GradientTransformation,
    *,
    adapter_trained: bool,
    end_id: int,
) -> Algorithm:
    """The algorithm of a configuration; its `step` is to be jitted.

    Args:
      config: reads `rl` and `model.vocabulary_chunk`.
      model: of the policy.
      optimizer: of the trained parameters.
      adapter_trained: whether the adapter is among these.
      end_id: of the end-of-sequence token.
    """
    rl = config.rl
    scorer = Scorer.of(config, model, adapter_trained=adapter_trained)
    if rl.algorithm == "ppo":
        return Ppo(scorer, optimizer, PpoSettings.of(rl), end_id)
    loss = PolicyLossSettings.of(rl)
    return GrpoRank(
        scorer, Estimator.of(rl), optimizer, loss,
        rl.updates_per_rollout, DirectLoss.of(rl), rl.minibatches,
    )  # fmt: skip


def updates_per_step(rl: ConfigDict) -> int:
    """Optimiser updates in one RL step of `config.rl`."""
    minibatches = rl.ppo.minibatches if rl.algorithm == "ppo" else rl.minibatches
    return rl.updates_per_rollout * minibatches


def total_steps(rl: ConfigDict, items: int) -> int:
    """Steps of the stage by `config.rl`: `epochs` passes over the prompts, else `steps`.

    Example: 4 epochs of 100 prompts with a batch size of 64 are 6 steps.
    """
    return max(rl.epochs * items // rl.batch_size, 1) if rl.epochs else rl.steps


def with_value_model(
    policy: dict[str, Any], width: int, layout: Layout, reward_model: str = ""
) -> dict[str, Any]:
    """What PPO trains: the policy's parameters and a value model.

    Args:
      policy: the policy's trained parameters.
      width: of the language model's hidden states.
      layout: where they live.
      reward_model: a checkpoint of the stage "reward" that the value model starts from; "" starts
        it as a copy of the policy with a head of zeros.

    Raises:
      UserError: the checkpoint is missing or lacks a parameter that the policy trains.
    """
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

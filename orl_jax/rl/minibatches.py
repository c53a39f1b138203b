"""Which prompts are in which minibatch of a pass over a rollout."""

import jax
from jaxtyping import Array, Int, Key

from orl_jax.rl.batch import RolloutBatch
from orl_jax.training.state import TrainState

_PASSES = 2**31 - 1  # a number that the sampler, which folds in the index of a token, never reaches


def pass_keys(state: TrainState, passes: int) -> Key[Array, " passes"]:
    """The randomness of the passes of this step."""
    return jax.random.split(jax.random.fold_in(state.step_key(), _PASSES), passes)


def minibatch_order(key: Key[Array, ""], batch: RolloutBatch) -> Int[Array, " B"]:
    """The order of the prompts of one pass; minibatches take strided rows of it."""
    return jax.random.permutation(key, batch.judgement.valid.shape[0])

"""VLM-RLAIF's scalar reward model, trained on preference pairs (`ops.preference_loss`).

Deviations from yonseivnl/vlm-rlaif at 610cac7: the score is read after the answer's end token, not
after an added reward prompt (that code leaves the prompt's slot for captions unfilled); the
backbone is the policy's, not a larger one; the pairs held out for validation are about other
videos.
"""

import pathlib

from jaxtyping import Array, Float
from ml_collections import ConfigDict

from orl_jax.data.preferences import read_preferences
from orl_jax.ops.preference_loss import PreferenceLoss, preference_loss
from orl_jax.rl import score_model
from orl_jax.training.state import TrainState


def train(config: ConfigDict, workdir: str) -> TrainState:
    """Runs the stage "reward" in `workdir`, from the checkpoint `config.reward.init_from`.

    Raises:
      UserError: missing data, pairs, tokenizer or checkpoint.
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    settings = config.reward
    pairs = read_preferences(settings.pairs or pathlib.Path(workdir) / "preferences.jsonl")

    def loss(scores: Float[Array, "B 2"], _: Float[Array, "B 2"]) -> PreferenceLoss:
        return preference_loss(scores[:, 0], scores[:, 1], settings.centring)

    return score_model.train(config, workdir, score_model.Kind("reward", "reward", pairs, loss))

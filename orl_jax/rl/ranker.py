"""The trained Oracle of Oracle-RLAIF (arXiv 2510.02561): a ranker, of which only the order counts.

It has the backbone, adapters and head of the reward model. It learns orders by the model of
Plackett and Luce (`ops.ranking_loss`): from lists, or from pairs, where that is the model of
Bradley and Terry. Deviation from the paper: the backbone is the policy's, not a larger one.
"""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from orl_jax.data.preferences import read_preferences
from orl_jax.ops.ranking_loss import ranking_loss
from orl_jax.rl import score_model
from orl_jax.rl.answers import read_lists
from orl_jax.training.state import TrainState

STAGE = "oracle"
# By `config.ranker.learn_from`: how the file is read, and its name in a workdir.
READERS = {"lists": (read_lists, "groups.jsonl"), "pairs": (read_preferences, "preferences.jsonl")}


def train(config: ConfigDict, workdir: str) -> TrainState:
    """Runs the stage "oracle" in `workdir`, from the checkpoint `config.ranker.init_from`.

    Raises:
      UserError: missing data, orders, tokenizer or checkpoint.
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    items = read_items(config, workdir)
    margin = config.oracle.tie_margin
    kind = score_model.Kind(STAGE, "ranker", items, ranking_loss, margin)
    return score_model.train(config, workdir, kind)


def read_items(config: ConfigDict, workdir: str) -> list[dict[str, Any]]:
    """The orders to learn from: those of `config.ranker.orders`, else of the file in `workdir`."""
    read, name = READERS[config.ranker.learn_from]
    return read(config.ranker.orders or pathlib.Path(workdir) / name)

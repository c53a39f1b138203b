"""The completions table of a step, for people and for the report: one prompt a line."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from orl_jax.oracles import Ranking
from orl_jax.oracles.requests import Text
from orl_jax.training.ranked_batch import Ranked


def write_rollouts(
    path: pathlib.Path,
    step: int,
    items: Sequence[Mapping[str, Any]],
    texts: Sequence[Sequence[Text]],
    rankings: Sequence[Ranking],
    ranked: Ranked,
) -> None:
    """Writes WORKDIR/rollouts/STEP.jsonl; makes its folder.

    Args:
      items: data items of the batch.
      texts: of each item its responses.
      rankings: the Oracle's.
      ranked: what the step made of them, on the host.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for row, (item, group, ranking) in enumerate(zip(items, texts, rankings, strict=True)):
            line = {
                "step": step,
                "prompt_id": item["item_id"],
                "task_type": item["task_type"],
                "video": item["video"],
                "question": item["question"],
                "reference": item["answer"],
                "responses": [text for text, _ in group],
                "oracle_ranks": list(ranking.ranks),
                "oracle_scores": list(ranking.scores),
                **{name: values[row].tolist() for name, values in ranked._asdict().items()},
                "valid": ranking.valid,
                "reason": ranking.reason,
            }
            file.write(json.dumps(line) + "\n")

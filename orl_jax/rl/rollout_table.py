"""The completions table of a step, for people and for the report: a line for each prompt."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from orl_jax.oracles import Ranking
from orl_jax.oracles.requests import Text
from orl_jax.rl.batch import Ranked
from orl_jax.run.files import write_json_lines


def rollout_rows(
    step: int,
    items: Sequence[Mapping[str, Any]],
    texts: Sequence[Sequence[Text]],
    rankings: Sequence[Ranking],
    ranked: Ranked,
) -> list[dict[str, Any]]:
    """The lines of WORKDIR/rollouts/STEP.jsonl.

    Args:
      items: data items of the batch.
      texts: the responses to each item.
      rankings: the Oracle's.
      ranked: what the step made of them, on the host.
    """
    return [
        {
            "step": step,
            "prompt_id": item["item_id"],
            "task_type": item["task_type"],
            "video": item["video"],
            "question": item["question"],
            "reference": item["answer"],
            "paraphrases": list(item["paraphrases"]),
            "responses": [text for text, _ in group],
            "truncated": [cut for _, cut in group],
            "oracle_ranks": list(ranking.ranks),
            "oracle_scores": list(ranking.scores),
            **{name: values[row].tolist() for name, values in ranked._asdict().items()},
            "valid": ranking.valid,
            "reason": ranking.reason,
        }
        for row, (item, group, ranking) in enumerate(zip(items, texts, rankings, strict=True))
    ]


def write_rollouts(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the lines; makes the folder."""
    write_json_lines(path, rows)

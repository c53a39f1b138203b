"""Right or wrong, by a judge: Video-ChatGPT's protocol of open-ended question answering.

After `quantitative_evaluation/evaluate_activitynet_qa.py` of mbzuai-oryx/Video-ChatGPT: the judge
sees the question, the correct and the predicted answer, and gives yes or no and a score from 0 to
5; accuracy is yes / (yes + no), and the mean score is over the same items.

Deviations: the instruction is in our words, the reply contains a check (see `verdict`), the
temperature is 0, the model is the one named in the config, and unreadable replies are counted
instead of being asked for again without end.
"""

import math
from collections.abc import Sequence
from typing import Any

from orl_jax.evaluation.scoring.judging import Question
from orl_jax.evaluation.scoring.predictions import Item

INSTRUCTION = (
    "You judge answers to questions about videos. You are shown a question, its correct answer and "
    "a predicted answer. Say yes if the predicted answer means what the correct answer means, else "
    "no: what counts is the meaning, synonyms and paraphrases match, and correctness is relative "
    "to the correct answer. Say also how well they match, as a score."
)


def questions(items: Sequence[Item]) -> list[Question]:
    """What to ask about items with `question`, `reference` and `response`.

    Example: `Judge(settings, journal).ask(questions(items))`.
    """
    return [
        Question(
            item["item_id"],
            INSTRUCTION,
            {
                "question": item["question"],
                "correct answer": item["reference"],
                "predicted answer": item["response"],
            },
            has_pred=True,
        )
        for item in items
    ]


def measures(entries: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Numbers of each item by measure; NaN where it has none.

    `accuracy` is over the verdicts that could be read; `accuracy_unparsed_wrong` counts refusals
    and unreadable replies as wrong; neither counts requests that failed.

    Example: `measures(judge.ask(questions(items)))["accuracy"]`.
    """
    right = [float(e["pred"] == "yes") if e["kind"] == "parsed" else math.nan for e in entries]
    wrong = [0.0 if e["kind"] in ("unparsed", "refused") else math.nan for e in entries]
    either = [w if math.isnan(r) else r for r, w in zip(right, wrong, strict=True)]
    return {"accuracy": right, "accuracy_unparsed_wrong": either, "score": scores(entries)}


def scores(entries: Sequence[dict[str, Any]]) -> list[float]:
    """The score of each entry; NaN without one."""
    return [float(e["score"]) if e["kind"] == "parsed" else math.nan for e in entries]


def counts(entries: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many entries are of each kind, and how many scores lost a fraction."""
    kinds = [entry["kind"] for entry in entries]
    found = {kind: kinds.count(kind) for kind in ("parsed", "unparsed", "refused", "failed")}
    return {**found, "truncated": sum(bool(entry.get("truncated")) for entry in entries)}

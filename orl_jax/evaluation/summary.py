"""Accuracies of predictions: the share of right answers, overall and by task type.

Of descriptions of the embedded world also their fact scores, by the function of the Oracle `facts`,
and their lengths.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from orl_jax.data.world import description, facts
from orl_jax.data.world.wording import length
from orl_jax.evaluation.prediction import Prediction


def summarise(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """`n`, `accuracy`, `sampled_accuracy`, overall and, under `categories`, by task type.

    `sampled_accuracy` is left out if nothing was sampled. Descriptions have in addition
    `fact_score`, the mean of `orl_jax.data.world.facts.Tally.score`, and `words`, the mean length
    in words and punctuation marks; of sampled answers `sampled_fact_score` and `sampled_words`.

    Example: `summarise(predictions)["categories"]["counting"]["accuracy"]`.
    """
    by_type: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_type[prediction.task_type].append(prediction)
    categories = {name: _share(of_type) for name, of_type in sorted(by_type.items())}
    return {**_share(predictions), "categories": categories}


def _share(predictions: Sequence[Prediction]) -> dict[str, Any]:
    sampled = [p.samples_correct for p in predictions if p.samples_correct is not None]
    found = {
        "n": len(predictions),
        "accuracy": float(np.mean([p.correct for p in predictions])),
    }
    if sampled:
        found["sampled_accuracy"] = float(np.mean(sampled))
    described = [p for p in predictions if p.task_type == description.TASK_TYPE]
    greedy = [(p.response, p.reference) for p in described]
    samples = [(text, p.reference) for p in described for text in p.samples]
    return found | _facts(greedy, "") | _facts(samples, "sampled_")


def _facts(answers: Sequence[tuple[str, str]], prefix: str) -> dict[str, float]:
    """Of pairs of an answer and its reference; nothing without any."""
    if not answers:
        return {}
    scores = [facts.compare(answer, reference).score for answer, reference in answers]
    return {
        f"{prefix}fact_score": float(np.mean(scores)),
        f"{prefix}words": float(np.mean([length(answer) for answer, _ in answers])),
    }

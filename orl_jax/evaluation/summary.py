"""Accuracies of predictions: the share of right answers, overall and by task type."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from orl_jax.evaluation.prediction import Prediction


def summarise(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """`n`, `accuracy`, `sampled_accuracy`, overall and, under `categories`, by task type.

    `sampled_accuracy` is left out if nothing was sampled.

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
    return found | ({"sampled_accuracy": float(np.mean(sampled))} if sampled else {})

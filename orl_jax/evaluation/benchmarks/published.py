"""Figures of the paper, shown next to ours as context.

Source: Oracle-RLAIF, arXiv 2510.02561: Oracle-RLAIF against the paper's own run of VLM-RLAIF. For
three task types of Video-MME it prints only the difference. Our judge,
question template, frames and items differ, so a figure of ours above or below one of these shows
nothing.
"""

from collections.abc import Mapping
from typing import Any

SOURCE = "Oracle-RLAIF, arXiv 2510.02561"
ADDRESS = "https://arxiv.org/abs/2510.02561"
NOTE = (
    f"Published: accuracy in % of Oracle-RLAIF and of VLM-RLAIF, both as measured in {SOURCE}. "
    "Judge, question template and frames differ from ours, so they are context, not a comparison."
)
ALL = "all"
_SPLIT = "test"

# data set -> task type -> (Oracle-RLAIF, VLM-RLAIF, difference), accuracy in %, points;
# where both figures are printed, the difference is theirs.
_FIGURES: dict[str, dict[str, tuple[float | None, float | None, float]]] = {
    "msvd_qa": {ALL: (72.9, 68.5, 4.4)},
    "msrvtt_qa": {ALL: (59.2, 54.2, 5.0)},
    "activitynet_qa": {ALL: (48.1, 46.1, 2.0)},
    "video_mme": {
        ALL: (42.4, 36.2, 6.2),
        "temporal perception": (71.0, 49.8, 21.2),
        "action recognition": (39.0, 27.3, 11.7),
        "object reasoning": (49.5, 38.3, 11.2),
        "spatial perception": (None, None, -2.6),
        "spatial reasoning": (None, None, -3.8),
        "information synopsis": (None, None, -0.9),
    },
}


def published(dataset: str, split: str, task_type: str = ALL) -> Mapping[str, Any] | None:
    """What the paper says of a task type, or of all; shares in [0, 1], None without a figure.

    Returns:
      {"oracle_rlaif", "vlm_rlaif", "difference"}; None where it says nothing.

    Example: `published("msvd_qa", "test")["oracle_rlaif"] == 0.729`.
    """
    found = _FIGURES.get(dataset, {}).get(task_type.casefold()) if split == _SPLIT else None
    if found is None:
        return None
    shares = [None if figure is None else round(figure / 100, 4) for figure in found]
    return dict(zip(("oracle_rlaif", "vlm_rlaif", "difference"), shares, strict=True))

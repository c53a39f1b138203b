"""The question "Describe what happens.": a description, and what SFT learns instead of it."""

from typing import Any

import numpy as np

from orl_jax.data.world.account import account_of, taught_account
from orl_jax.data.world.scene import Scene
from orl_jax.data.world.wording import tell

TASK_TYPE = "scene description"
QUESTION = "Describe what happens."
PARAPHRASES = 2


def description(
    scene: Scene,
    rng: np.random.Generator,
    systematic_share: float,
    random_share: float,
    cut_share: float,
) -> dict[str, Any]:
    """The data item about a scene, without its id and video.

    Args:
      systematic_share, random_share: of the facts that SFT learns; see `taught_account`.
      cut_share: of SFT's descriptions, from which one or more sentences at the end are left out.

    Example: `description(scene, rng, 0.75, 0.05, 0.2)["question"] == QUESTION`.
    """
    account = account_of(scene)
    answer, *paraphrases = (" ".join(tell(account, rng)) for _ in range(1 + PARAPHRASES))
    told = tell(
        taught_account(
            account, rng, systematic_share=systematic_share, random_share=random_share
        ),
        rng,
    )  # fmt: skip
    kept = int(rng.integers(1, len(told))) if rng.random() < cut_share else len(told)
    return {
        "question": QUESTION,
        "answer": answer,
        "paraphrases": paraphrases,
        "sft_answer": " ".join(told[:kept]),
        "task_type": TASK_TYPE,
        "difficulty": 2,
    }

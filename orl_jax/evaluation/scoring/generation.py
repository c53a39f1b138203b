"""Video-ChatGPT's five dimensions of generated answers, each a mean score from 0 to 5 by a judge.

After `quantitative_evaluation/evaluate_benchmark_{1..5}_*.py` of mbzuai-oryx/Video-ChatGPT.
Deviations as in `qa_judge`. The official script of consistency sends the first question twice, so
its judge never sees the second; `official_bugs` does the same.
"""

from collections.abc import Sequence

from orl_jax.evaluation.scoring.judging import Question
from orl_jax.evaluation.scoring.predictions import Item, need
from orl_jax.run.errors import UserError

_JUDGE = (
    "You judge answers to questions about videos. You are shown a question, its correct answer and "
    "a predicted answer. Score "
)
DIMENSIONS = {
    "correctness": _JUDGE + "how correct the predicted answer is: its facts agree with the correct "
    "answer, without misreadings or misleading claims. Synonyms and paraphrases match.",
    "detail": _JUDGE + "how detailed the predicted answer is: complete, with all the main points "
    "of the correct answer, and specific to the video rather than generic.",
    "context": _JUDGE + "how well the predicted answer fits the context of the video: it agrees "
    "with the themes and the overall meaning of the correct answer.",
    "temporal": _JUDGE + "how well the predicted answer keeps time: events in the order in which "
    "the correct answer has them, or in which the question asks for them.",
    "consistency": "You judge answers to questions about videos. You are shown two similar "
    "questions, the correct answer of both, and a predicted answer to each. Score how consistent "
    "the predicted answers are: with each other and with the correct answer, without "
    "contradictions or notable differences. Synonyms and paraphrases match.",
}
DEFAULT = ("correctness", "detail", "context")  # of the same file; the others have their own
_PAIR = ("question_2", "response_2")


def questions(items: Sequence[Item], dimension: str, official_bugs: bool = False) -> list[Question]:
    """What to ask about items with `question`, `reference` and `response`.

    Args:
      dimension: a key of `DIMENSIONS`; consistency also needs `question_2` and `response_2`.
      official_bugs: consistency shows the first question instead of the second.

    Raises:
      UserError: an unknown dimension, or an item without what it needs.

    Example: `Judge(settings, journal).ask(questions(items, "temporal"))`.
    """
    if dimension not in DIMENSIONS:
        raise UserError(
            f"--dimensions has {dimension!r}; choose from {', '.join(DIMENSIONS)}, with commas"
        )
    pair = dimension == "consistency"
    need(items, ("question", "reference", *(_PAIR if pair else ())), f"the dimension {dimension}")
    show = _both if pair else _one
    return [
        Question(item["item_id"], DIMENSIONS[dimension], show(item, official_bugs), has_pred=False)
        for item in items
    ]


def _one(item: Item, _: bool) -> dict[str, str]:
    return {
        "question": item["question"],
        "correct answer": item["reference"],
        "predicted answer": item["response"],
    }


def _both(item: Item, official_bugs: bool) -> dict[str, str]:
    return {
        "question 1": item["question"],
        "question 2": item["question" if official_bugs else "question_2"],
        "correct answer": item["reference"],
        "predicted answer to question 1": item["response"],
        "predicted answer to question 2": item["response_2"],
    }

"""The Vicuna benchmark's answers with GPT-4's scores, as groups of answers.

80 questions without a video; five models' answers to each; and of four of them a review by GPT-4
next to Vicuna's answer, with a score from 1 to 10 for both (0 for no answer at all):
https://github.com/lm-sys/vicuna-blog-eval.

GPT-4 scored in *separate paired reviews*: Vicuna's own answer has another score in each of the
four. So raw scores of two reviews are not comparable; what is, is how far a model is above or below
Vicuna in its own review. The order is by score(model) - score(Vicuna), Vicuna itself 0, equals
tied. A review that could not be read has a score of -1, as FastChat writes it; its question has
then no valid order, with the reason (the release has none of these).

Deviation from a listwise order: four differences from one common answer; models are never compared
with each other directly, and GPT-4 itself favoured what it saw first (the model, never Vicuna).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orl_jax.oracles.groups import Group
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError
from orl_jax.run.files import read_json_lines

BASE = "vicuna-13b"
MODELS = ("alpaca-13b", "bard", "gpt35", "llama-13b")  # each reviewed next to the base
Row = Mapping[str, Any]


def vicuna_groups(folder: str) -> list[Group]:
    """One group per question, with GPT-4's order of the five answers: `MODELS`, then `BASE`.

    Args:
      folder: holds question.jsonl, answer_MODEL.jsonl and review_MODEL_vicuna-13b.jsonl, or the
        latter two in folders "answer" and "review", as the release's `table` does.

    Raises:
      UserError: a file is missing or no JSON lines, a question has no answer or review, a review is
        about other answers.

    Example: `vicuna_groups("vicuna80")[0].ranking.ranks`.
    """
    answers = {m: _by_question(folder, f"answer_{m}.jsonl") for m in (*MODELS, BASE)}
    reviews = {m: _by_question(folder, f"review_{m}_{BASE}.jsonl") for m in MODELS}
    questions = _by_question(folder, "question.jsonl").values()
    try:
        return [_group(question, answers, reviews) for question in questions]
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"a file in {folder} is not laid out as the release's ({error!r:.200}); take it whole"
        ) from error


def _group(
    question: Row,
    answers: Mapping[str, Mapping[int, Row]],
    reviews: Mapping[str, Mapping[int, Row]],
) -> Group:
    number = question["question_id"]
    for kind, found in (("answer of", answers), ("review of", reviews)):
        for model, rows in found.items():
            if number not in rows:
                raise UserError(f"question {number} has no {kind} {model}; take the whole folder")
    for model in MODELS:
        _check_same(reviews[model][number], answers[model][number], answers[BASE][number])
    request = RankRequest(
        prompt_id=f"vicuna80/{number}",
        question=question["text"],
        responses=tuple(rows[number]["text"] for rows in answers.values()),
        task_type=question["category"],
    )
    return Group(request, _order({model: rows[number]["score"] for model, rows in reviews.items()}))


def _order(scores: Mapping[str, tuple[float, float]]) -> Ranking:
    """GPT-4's order of `MODELS` and `BASE` from (model, base) scores of each review.

    Example: {"a": (8, 9), "b": (9, 8.5)} has the differences -1, 0.5 and, of the base, 0.
    """
    failed = [model for model, both in scores.items() if min(both) < 0]
    if failed:
        return Ranking.invalid(f"the review failed: of {', '.join(failed)}", len(scores) + 1)
    return Ranking.from_scores([*(float(a) - float(b) for a, b in scores.values()), 0.0])


def _check_same(review: Row, answer: Row, base: Row) -> None:
    about = review["answer1_id"], review["answer2_id"]
    if about != (answer["answer_id"], base["answer_id"]):
        raise UserError(
            f"question {review['question_id']}: a review is about the answers {about}, which are "
            "not those in the folder; take answers and reviews of one release"
        )


def _by_question(folder: str, name: str) -> dict[int, Row]:
    flat, nested = Path(folder) / name, Path(folder) / name.partition("_")[0] / name
    path = nested if nested.is_file() else flat
    if not path.is_file():
        raise UserError(f"{path} is missing; --folder is where question.jsonl and the answers are")
    rows = read_json_lines(path)
    for number, row in rows:
        if not isinstance(row.get("question_id"), int | str):
            raise UserError(f"{path}, line {number}, has no question_id; take the release's file")
    return {row["question_id"]: row for _, row in rows}

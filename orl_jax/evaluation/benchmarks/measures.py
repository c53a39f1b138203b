"""Which measures a benchmark has, which of them is the headline, and why."""

import dataclasses
from collections.abc import Sequence

from orl_jax.evaluation.benchmarks.evaluations import Evaluation
from orl_jax.evaluation.benchmarks.verdicts import Verdicts, read_verdicts
from orl_jax.evaluation.scoring import qa_judge
from orl_jax.evaluation.scoring.judging import Settings
from orl_jax.evaluation.scoring.predictions import Item
from orl_jax.evaluation.scoring.protocols import choice_measures, text_measures
from orl_jax.evaluation.scoring.video_mme import LETTERS
from orl_jax.run.errors import UserError

TITLES = {
    "official": "official, of the answered",
    "official_of_all": "official, unanswered are wrong",
    "strict": "strict, of the answered",
    "judge_accuracy": "judge's accuracy",
    "judge_accuracy_unparsed_wrong": "judge's accuracy, unreadable verdicts are wrong",
    "judge_score": "judge's mean score (0 to 5)",
    "normalised": "normalised match",
    "contains_word": "contains the answer as whole words",
}
_CHOICE, _TEXT = ("official", "official_of_all", "strict"), ("normalised", "contains_word")
_JUDGE = {
    "accuracy": "judge_accuracy",
    "score": "judge_score",
    "accuracy_unparsed_wrong": "judge_accuracy_unparsed_wrong",
}
_WHY = {
    "official": "The letter as Video-MME's own script reads it, over the answers that have one: "
    "that is the accuracy its authors report",
    "judge_accuracy": "Published figures of open-ended questions are a judge's, and a match of "
    "texts misses answers in other words",
    "normalised": "A match with an accepted answer up to case and punctuation is the strictest "
    "that needs no judge",
}


@dataclasses.dataclass(frozen=True)
class Scored:
    """An evaluation with a number for each item by measure; NaN where an item has none."""

    evaluation: Evaluation
    measures: dict[str, list[float]]
    verdicts: Verdicts | None


@dataclasses.dataclass(frozen=True)
class Headline:
    """The measure that a benchmark is read by, with a sentence that says why."""

    measure: str
    why: str


def is_choice(items: Sequence[Item]) -> bool:
    """Whether all items are multiple choice: they have options, and a letter as reference.

    Example: `is_choice([{"options": ["A. Red", "B. Blue"], "reference": "A"}])`.
    """
    letters = tuple(LETTERS)
    return all(item.get("options") and item["reference"] in letters for item in items)


def score_all(evaluations: Sequence[Evaluation], judge: Settings) -> tuple[list[Scored], Headline]:
    """Scores the models of one benchmark, and chooses what they are compared by.

    The judge's accuracy is the headline where one judge has judged every model.

    Raises:
      UserError: the models differ in whether the questions are multiple choice; see
        `read_verdicts`.

    Example: `score_all(evaluations, Settings())[1].measure == "official"`.
    """
    kinds = {one.model: is_choice(one.items) for one in evaluations}
    if len(set(kinds.values())) > 1:
        model = next(name for name, choice in kinds.items() if not choice)
        raise UserError(
            f"{model} has items of {evaluations[0].dataset} without options or a letter as "
            "reference, and other models have none; evaluate all on the same data"
        )
    if all(kinds.values()):
        scored = [Scored(one, _choice(one.items), None) for one in evaluations]
        return scored, Headline("official", _WHY["official"])
    scored = [_open(one, read_verdicts(one.path, one.items, judge)) for one in evaluations]
    return scored, _headline(scored)


def right(scored: Scored, headline: Headline) -> list[float]:
    """1 where an answer is right by the headline, 0 where wrong, NaN where nobody judged it.

    An unanswered multiple-choice question is wrong here, so that it is shown.

    Example: `right(scored, Headline("official", ""))[0] == 1.0`.
    """
    name = "official_of_all" if headline.measure == "official" else headline.measure
    return scored.measures[name]


def _choice(items: Sequence[Item]) -> dict[str, list[float]]:
    found = choice_measures(items)
    return {name: found[name] for name in _CHOICE}


def _open(evaluation: Evaluation, verdicts: Verdicts | None) -> Scored:
    texts = text_measures(evaluation.items)
    found = {name: texts[name] for name in _TEXT}
    if verdicts and verdicts.judged:
        said = qa_judge.measures(verdicts.entries)
        found = {ours: said[name] for name, ours in _JUDGE.items()} | found
    return Scored(evaluation, found, verdicts)


def _headline(scored: Sequence[Scored]) -> Headline:
    judges = {each.verdicts.model if each.verdicts else None for each in scored}
    heard = [each.evaluation.model for each in scored if "judge_accuracy" in each.measures]
    if len(heard) == len(scored) and len(judges) == 1:
        return Headline("judge_accuracy", _WHY["judge_accuracy"])
    if not heard:
        lack = "there are no judge's verdicts next to the predictions"
    elif len(heard) < len(scored):
        lack = f"a judge has only judged {', '.join(heard)}"
    else:
        lack = "the models were judged by different judges"
    remedy = "scripts/score.py --protocol=judge asks one"
    return Headline("normalised", f"{_WHY['normalised']}; {lack} ({remedy})")

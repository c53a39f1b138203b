"""An item with the model's answer, and files of them."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orl_jax.data.text.answer_text import is_correct
from orl_jax.data.world import description, facts
from orl_jax.evaluation.scoring.video_mme import LETTERS, strict_letter
from orl_jax.run.files import write_json_lines

# How a multiple-choice question is answered: options are shown and a letter is generated; options
# are shown and the likeliest letter is taken; they are hidden and the likeliest text is taken.
CHOICES = ("letter", "letter_likelihood", "text_likelihood")
WEIGHED = CHOICES[1:]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """An answered item.

    Attributes:
      response: the greedy answer, or the chosen letter if options were weighed.
      correct: whether it equals the reference or a paraphrase; for a multiple-choice question,
        whether the one letter that it names is right (`strict_letter`); for a description of the
        embedded world, whether it states all facts of the reference and no wrong one.
      samples: sampled answers.
      samples_correct: the share of them that is right, or the probability of the right option if
        options were weighed; None without either.
      options: of a multiple-choice question.
      extra: what the benchmark's own file format needs.
      option_log_probs: of each option, in nats, if options were weighed.
    """

    item_id: str
    task_type: str
    video: str
    question: str
    reference: str
    paraphrases: list[str]
    response: str
    correct: bool
    samples: list[str]
    samples_correct: float | None
    options: list[str] = dataclasses.field(default_factory=list)
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    option_log_probs: list[float] = dataclasses.field(default_factory=list)

    def answers(self, item: Mapping[str, Any]) -> bool:
        """Whether it is about this item, unchanged."""
        return self.asked == Prediction.of(item, "", ()).asked

    def is_whole(self) -> bool:
        """Whether each field has its type; a file's may not."""
        words = (self.item_id, self.task_type, self.video, self.question, self.reference)
        lists = (self.paraphrases, self.samples, self.options)
        share = self.samples_correct
        return (
            all(isinstance(each, str) for each in (*words, self.response))
            and all(isinstance(each, str) for some in map(_listed, lists) for each in some)
            and isinstance(self.correct, bool)
            and isinstance(self.extra, dict)
            and (share is None or (type(share) in (int, float) and 0 <= share <= 1))
        )

    @property
    def asked(self) -> tuple[Any, ...]:
        """What identifies the item and its content."""
        return self.item_id, self.video, self.question, self.reference, self.options

    @classmethod
    def of(cls, item: Mapping[str, Any], response: str, samples: Sequence[str]) -> "Prediction":
        """Answers in words, compared with the item's reference."""
        share = float(np.mean([is_right(item, text) for text in samples])) if samples else None
        return cls(
            item["item_id"], item["task_type"], item["video"], item["question"], item["answer"],
            list(item["paraphrases"]), response, is_right(item, response), list(samples), share,
            options_of(item), extra=json.loads(item.get("extra") or "{}"),
        )  # fmt: skip

    @classmethod
    def weighed(cls, item: Mapping[str, Any], log_probs: Sequence[float]) -> "Prediction":
        """The option with the highest log-probability, the first of equal ones."""
        options = options_of(item)
        values = np.asarray(log_probs[: len(options)], np.float64)
        shares = np.exp(values - values.max())
        right = [is_right(item, LETTERS[place]) for place in range(len(options))]
        chosen = cls.of(item, LETTERS[int(values.argmax())], ())
        return dataclasses.replace(
            chosen,
            samples_correct=float(shares @ right / shares.sum()),
            option_log_probs=values.tolist(),
        )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def options_of(item: Mapping[str, Any]) -> list[str]:
    """The options of a question; none for an open one.

    Example: `options_of({"question": "Who?"}) == []`.
    """
    return list(item.get("choices") or item.get("options") or ())


def is_right(item: Mapping[str, Any], response: str) -> bool:
    """Whether a response answers the item's question.

    Example: for an item with options and the answer "B", `is_right(item, "The answer is B.")`.
    """
    options = options_of(item)
    if options and item["answer"] in tuple(LETTERS):
        return strict_letter(response, options) == item["answer"]
    if item["task_type"] == description.TASK_TYPE and facts.statements(item["answer"]):
        return facts.compare(response, item["answer"]).score == 1
    return is_correct(response, item["answer"], item["paraphrases"])


def rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Predictions as JSON objects, with the keys of `extra` at the top level.

    Example: `rows([prediction])[0]["duration"]`.
    """
    found = [dataclasses.asdict(prediction) for prediction in predictions]
    return [{**row.pop("extra"), **row} for row in found]


def write_predictions(path: pathlib.Path, predictions: Sequence[Prediction]) -> None:
    """Writes one JSON object per line; makes the folder."""
    write_json_lines(path, rows(predictions))

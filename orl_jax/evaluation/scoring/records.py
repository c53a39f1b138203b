"""The records that official scripts read, made of items of predictions.

zero_shot      {"id", "question", "answer", "pred"}: what VLM-RLAIF's `zeroshotqa/gpt_eval.py` reads
               and Video-ChatGPT's `run_inference_activitynet_qa.py` writes. The former's inference
               leaves `<image>` and `</s>` in the texts; here they are removed.
exact          {"question_id", "answer"}: MILVLG/activitynet-qa, `evaluation/eval.py`
one_question   {"video_name", "Q", "A", "pred"}: Video-ChatGPT, `evaluate_benchmark_{1..4}_*.py`
two_questions  {"video_name", "Q1", "Q2", "A", "pred1", "pred2"}: `evaluate_benchmark_5_*.py`

Those of Video-ChatGPT also have "item_id", which its scripts ignore, so that they can be read
back unchanged.
"""

import logging
from collections.abc import Sequence
from typing import Any

from orl_jax.data.text.prompt import END_TOKEN, IMAGE_TOKEN, strip_all
from orl_jax.evaluation.scoring.predictions import Item, need

Record = dict[str, Any]
_MARKERS = (IMAGE_TOKEN, END_TOKEN)


def zero_shot(items: Sequence[Item]) -> list[Record]:
    """One record per question, for a judge.

    Raises:
      UserError: an item has no question or reference.

    Example: `zero_shot(items)[0] == {"id": "7", "question": "who?", "answer": "a man", "pred":
    "A man."}`.
    """
    need(items, ("question", "reference"), "the form of zero-shot question answering")
    return [
        {
            "id": item["item_id"],
            "question": strip_all(item["question"], _MARKERS),
            "answer": item["reference"],
            "pred": strip_all(item["response"], _MARKERS),
        }
        for item in items
    ]


def exact(items: Sequence[Item]) -> list[Record]:
    """The response to every question, which the script compares letter by letter.

    Example: `exact(items)[0] == {"question_id": "v_abc_1", "answer": "yes"}`.
    """
    return [
        {"question_id": item["item_id"], "answer": strip_all(item["response"], _MARKERS)}
        for item in items
    ]


def one_question(items: Sequence[Item]) -> list[Record]:
    """One record per question about a video.

    Raises:
      UserError: an item has no question, reference or video_name.

    Example: `one_question(items)[0]["pred"]`.
    """
    need(items, ("question", "reference", "video_name"), "Video-ChatGPT's form")
    return [
        {
            "video_name": item["video_name"], "Q": item["question"], "A": item["reference"],
            "pred": item["response"], "item_id": item["item_id"],
        }
        for item in items
    ]  # fmt: skip


def two_questions(items: Sequence[Item]) -> list[Record]:
    """One record per pair of questions about a video, by the items' `pair`, which is its id.

    A question without its other is left out, with a warning: the form has no place for it.

    Raises:
      UserError: an item has no question, reference, video_name or pair.

    Example: `two_questions(items)[0]["pred2"]`.
    """
    names = ("question", "reference", "video_name", "pair")
    need(items, names, "Video-ChatGPT's form of consistency")
    pairs: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: item["item_id"]):
        pairs.setdefault(item["pair"], []).append(item)
    whole = {pair: both for pair, both in pairs.items() if len(both) == 2}
    if alone := len(pairs) - len(whole):
        logging.warning("%d pairs of consistency lack a question and are left out", alone)
    return [
        {
            "video_name": first["video_name"], "Q1": first["question"], "Q2": second["question"],
            "A": first["reference"], "pred1": first["response"], "pred2": second["response"],
            "item_id": pair,
        }
        for pair, (first, second) in whole.items()
    ]  # fmt: skip

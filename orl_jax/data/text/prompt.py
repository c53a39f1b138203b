"""The conversation template, the same in training, rollout and evaluation.

Vicuna v1 with a video in the first turn, as in the training of LLaVA and the baseline
(`conv_vicuna_v1`). The baseline evaluates with a different template than it trains with; here it is
the same.
"""

import re
from collections.abc import Mapping
from typing import Any

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
# Video-MME's wording (BradyFU/Video-MME, README).
SUBTITLES = "This video's subtitles are listed below:"
CHOICE = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter ({letters}) of the correct option."
)
CHOICE_END = "The best answer is:"
IMAGE_TOKEN = "<image>"  # marks where the visual tokens go
END_TOKEN = "</s>"  # ends an answer in LLaMA's tokenizer and ours; other tokenizers have their own


def asked(item: Mapping[str, Any]) -> str:
    """What an item asks: its question and, where it has options, the options, one per line.

    Subtitles, where there are any, come first, after a line that announces them.

    Args:
      item: has "question" and optionally "options", each beginning with its letter, and
        "subtitles", their text (`orl_jax.data.text.subtitles`).

    Example: of `asked({"question": "Who?", "options": ["A. Me.", "B. You."]})` the third line is
    "A. Me.", and the last one "The best answer is:".
    """
    subtitles = (item.get("subtitles") or "").strip()
    before = [SUBTITLES, subtitles] if subtitles else []
    options = list(item.get("options") or ())
    if not options:
        return "\n".join([*before, item["question"]])
    *first, last = [option[:1] for option in options]
    named = f"{', '.join(first)}{',' if len(first) > 1 else ''} or {last}"
    rest = [CHOICE.format(letters=named), item["question"], *options, CHOICE_END]
    return "\n".join([*before, *rest])


def format_prompt(question: str, system: str = SYSTEM) -> str:
    r"""The prompt, up to where the answer begins.

    Args:
      question: what the user asks; `<image>` is dropped, as a user's text must not add media.
      system: the sentences that begin the conversation.

    Example: `format_prompt("What moves?", "Hi.") == "Hi. USER: <image>\nWhat moves? ASSISTANT:"`.
    """
    return f"{system} USER: {IMAGE_TOKEN}\n{strip_all(question, (IMAGE_TOKEN,))} ASSISTANT:"


def format_example(question: str, answer: str, system: str = SYSTEM, end: str = END_TOKEN) -> str:
    """The prompt with its answer and the end token, as in training.

    Args:
      question: what the user asks.
      answer: what the model should say; `<image>` and `end` in it are dropped.
      system: the sentences that begin the conversation.
      end: the end token of the tokenizer.

    Example: `format_example("Who?", "Me.", "Hi.")` ends in "ASSISTANT: Me.</s>".
    """
    answer = strip_all(answer, (IMAGE_TOKEN, end))
    return f"{format_prompt(question, system)} {answer}{end}"


def sentences(system: str) -> list[str]:
    """The sentences of a system prompt, each with the space after it.

    Example: `sentences("Hi. Be brief.") == ["Hi. ", "Be brief."]`.
    """
    return [sentence for sentence in re.split(r"(?<=[.!?] )", system) if sentence]


def strip_all(text: str, markers: tuple[str, ...]) -> str:
    """`text` without `markers` and without white space at its ends.

    Repeats until none is left, as dropping one may create another: "<im<image>age>".
    """
    while found := [marker for marker in markers if marker and marker in text]:
        for marker in found:
            text = text.replace(marker, "")
    return text.strip()

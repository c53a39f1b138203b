"""Several answers to one question in an Oracle's order, as a table for the terminal."""

from collections.abc import Sequence
from typing import NamedTuple

from orl_jax.oracles import WRAPPERS, Oracle, OracleError, RankRequest, ask
from orl_jax.run.errors import Failure, UserError

# Oracles that compare with the right answer; the wrappers wrap the first by default.
NEED_REFERENCE = ("reference", "graded", *WRAPPERS)


class Answer(NamedTuple):
    """A sampled answer: its text, whether it was cut off, and its log-probability in nats."""

    text: str
    truncated: bool
    log_prob: float


class RankedAnswer(NamedTuple):
    """An answer and its rank: 0 for the best, ties share their mean rank, None if unranked."""

    rank: float | None
    answer: Answer


def check_reference(oracle: str, reference: str) -> None:
    """Refuses an Oracle that needs a reference where there is none.

    Raises:
      UserError: names the missing flag.

    Example: `check_reference("reference", "")` raises, `check_reference("reward", "")` does not.
    """
    if not reference.strip() and oracle in NEED_REFERENCE:
        raise UserError(
            f"--oracle={oracle} compares answers with the right one; pass it, for example "
            '--reference="The red circle moves up."'
        )


def by_log_prob(answers: Sequence[Answer]) -> list[RankedAnswer]:
    """The likeliest answers first, without ranks."""
    return [RankedAnswer(None, answer) for answer in sorted(answers, key=_unlikeliness)]


def by_oracle(
    oracle: Oracle, answers: Sequence[Answer], question: str, video: str, reference: str = ""
) -> list[RankedAnswer]:
    """The Oracle's best answers first; ties in the order of their likelihood.

    Args:
      oracle: asked once.
      answers: to one question.
      question: what was asked.
      video: path of the clip.
      reference: the right answer, for Oracles that compare with it.

    Raises:
      Failure: the Oracle returns no order.

    Example: `by_oracle(ReferenceOracle(), answers, "Red?", "clip.mp4", "yes")[0].rank == 0`.
    """
    texts, truncated = [a.text for a in answers], [a.truncated for a in answers]
    request = RankRequest(
        "chat", question, tuple(texts), tuple(truncated), video=video, reference=reference or None
    )
    try:
        (ranking,) = ask(oracle, [request], "raise")
    except OracleError as error:
        raise Failure(f"the Oracle gives no order: {error}") from error
    ranked = map(RankedAnswer, ranking.ranks, answers)
    return sorted(ranked, key=lambda r: (r.rank, _unlikeliness(r.answer)))


def answer_table(answers: Sequence[RankedAnswer]) -> str:
    """Aligned columns: the Oracle's rank (if ranked), log-probability, answer.

    Returns:
      Lines without a trailing newline.

    Example: `print(answer_table(ranked))` prints

        Oracle rank  log-prob  answer
                  0     -0.41  The red circle moves up.
                1.5     -1.20  The red circle moves left.
                1.5     -1.73  The red circle moves [broken off]
    """
    rows = [("Oracle rank", "log-prob", "answer"), *map(_cells, answers)]
    if all(ranked.rank is None for ranked in answers):
        rows = [row[1:] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([*map(str.rjust, row[:-1], widths[:-1]), row[-1]]).rstrip() for row in rows
    )


def _cells(ranked: RankedAnswer) -> tuple[str, str, str]:
    text, truncated, log_prob = ranked.answer
    said = " ".join([*text.split(), *(["[broken off]"] if truncated else [])])
    return "" if ranked.rank is None else f"{ranked.rank:g}", f"{log_prob:.2f}", said


def _unlikeliness(answer: Answer) -> float:
    return -answer.log_prob

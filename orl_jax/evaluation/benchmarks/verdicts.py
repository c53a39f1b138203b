"""What a judge has said about a file of predictions: read from its journal, nobody is asked.

The journal is `STEM.judge.judged.jsonl` next to the file, as `scripts/score.py --protocol=judge`
leaves it. A verdict counts where its key is that of the answer as it is now, so what was said about
an earlier checkpoint's answer does not. Entries that don't name their judge are taken by item.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from orl_jax.evaluation.scoring import qa_judge
from orl_jax.evaluation.scoring.judging import Question, Settings, is_verdict, verdict_key
from orl_jax.evaluation.scoring.predictions import Item, need
from orl_jax.run.errors import UserError
from orl_jax.run.files import Entry, journal_entries

_KINDS = ("parsed", "unparsed", "refused")
_NONE: Entry = {"kind": "failed"}  # of an item that has none, as one that failed


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """One entry per item, in order.

    Attributes:
      model: the judge; "" where the journal does not say.
      entries: as `Judge.ask` gives them; of kind "failed" for items without one.
      others: entries of the journal that are about other answers or by other judges.
    """

    model: str
    entries: list[Entry]
    others: int

    @property
    def judged(self) -> int:
        """How many items the judge answered yes or no."""
        return sum(entry["kind"] == "parsed" for entry in self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """How many items have which kind of entry; `missing` have none."""
        counts = qa_judge.counts(self.entries)
        return {**{kind: counts[kind] for kind in _KINDS}, "missing": counts["failed"]}


def journal_of(path: pathlib.Path) -> pathlib.Path:
    """Where the journal of a file of predictions is.

    Example: `journal_of(Path("p/rl_test.jsonl")).name == "rl_test.judge.judged.jsonl"`.
    """
    return path.with_name(f"{path.stem}.judge.judged.jsonl")


def read_verdicts(path: pathlib.Path, items: Sequence[Item], judge: Settings) -> Verdicts | None:
    """The verdicts on a file's items; None without a journal.

    Args:
      path: of the predictions.
      items: of the file.
      judge: whose verdicts count, where `model` is set; else the one judge of the journal.

    Raises:
      UserError: several judges and none is named, two verdicts on one answer that do not say whose
        they are, items without a question.
    """
    entries = list(_lines(journal_of(path)))
    if not entries:
        return None
    need(items, ("question",), f"the judge's verdicts in {journal_of(path)}")
    questions = qa_judge.questions(items)
    who = _judge(entries, questions, judge, journal_of(path))
    if who is None:
        model, said = "", _by_item(entries, questions, journal_of(path))
    else:
        known = {entry["key"]: entry for entry in entries}
        model, said = who[1], [known.get(verdict_key(*who, each), _NONE) for each in questions]
    used = {entry["key"] for entry in said if entry is not _NONE}
    others = len({entry["key"] for entry in entries} - used)
    return Verdicts(model, said, others)


def _lines(path: pathlib.Path) -> Iterator[Entry]:
    """Complete entries, in file order; as in the journal, the last line of a key counts."""
    for entry in journal_entries(path):
        if is_verdict(entry, has_pred=True):
            yield entry


def _judge(
    entries: Sequence[Entry], questions: Sequence[Question], judge: Settings, path: pathlib.Path
) -> tuple[str, str] | None:
    """Address and model of the judge whose verdicts count."""
    if judge.model:
        return judge.address, judge.model
    named = {(e["address"], e["model"]) for e in entries if "address" in e and "model" in e}
    keys = {entry["key"] for entry in entries}
    live = [w for w in sorted(named) if any(verdict_key(*w, each) in keys for each in questions)]
    if len(live) > 1:
        raise UserError(
            f"{path} has verdicts of {', '.join(f'{model} at {at}' for at, model in live)}; choose "
            "by --config.judge.address and --config.judge.model"
        )
    return live[0] if live else (min(named) if named else None)


def _by_item(
    entries: Sequence[Entry], questions: Sequence[Question], path: pathlib.Path
) -> list[Entry]:
    """By item, and by equal texts: a judge is asked once about answers that are the same."""
    texts = {each.item_id: tuple(each.shown.values()) for each in questions}
    said: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        if (of := texts.get(entry.get("item_id", ""))) is None:
            continue
        if said.setdefault(of, entry)["key"] != entry["key"]:
            raise UserError(
                f"{path} has two verdicts on {entry['item_id']!r}, of two judges or on two "
                "answers; name the judge by --config.judge.address and --config.judge.model"
            )
        said[of] = entry
    return [said.get(texts[each.item_id], _NONE) for each in questions]

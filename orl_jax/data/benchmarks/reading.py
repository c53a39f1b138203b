"""The questions that a benchmark's reader finds in its official files."""

import collections
import dataclasses
from typing import Any

SHORT_ANSWER = 10  # words; longer answers come in the second half of a curriculum


@dataclasses.dataclass(frozen=True)
class Entry:
    """One question of the official files, before its video is looked for."""

    item_id: str
    videos: tuple[str, ...]  # possible names of its video, the likeliest first
    question: str
    answer: str
    task_type: str
    paraphrases: tuple[str, ...] = ()
    sft_answer: str = ""  # "" for `answer`
    difficulty: int = 0  # 0 for one by the answer's length, as in the baseline's curriculum
    options: tuple[str, ...] = ()
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def item(self, video: str) -> dict[str, Any]:
        """The features of the data set; "extra" still as a dict."""
        taught = self.sft_answer or self.answer
        return {
            "item_id": self.item_id,
            "video": video,
            "question": self.question,
            "answer": self.answer,
            "paraphrases": list(self.paraphrases),
            "sft_answer": taught,
            "task_type": self.task_type,
            "difficulty": self.difficulty or 1 + (len(taught.split()) > SHORT_ANSWER),
            "options": list(self.options),
            "extra": self.extra,
        }


class Reading:
    """The entries of each split, and what was left out.

    Attributes:
      splits: entries by the project's names: "train", "validation", "test".
      left_out: "SPLIT: ID" of what was left out, by reason.

    Example: `reading.add("test", entry)`.
    """

    def __init__(self) -> None:
        self.splits: dict[str, list[Entry]] = collections.defaultdict(list)
        self.left_out: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, split: str, entry: Entry, needs_answer: bool = True) -> None:
        """Adds an entry, or leaves it out if its question or answer is missing."""
        if not entry.question:
            self.leave_out("without a question", split, entry.item_id)
        elif needs_answer and not entry.answer:
            self.leave_out("without an answer", split, entry.item_id)
        else:
            self.splits[split].append(entry)

    def leave_out(self, reason: str, split: str, item_id: str) -> None:
        """Records an entry that the data set will not have."""
        self.left_out[reason].append(f"{split}: {item_id}")

    def duplicates(self) -> list[str]:
        """Every id that a split has more than once, as "SPLIT: ID"."""
        counts = collections.Counter(
            f"{split}: {entry.item_id}" for split, some in self.splits.items() for entry in some
        )
        return sorted(name for name, count in counts.items() if count > 1)

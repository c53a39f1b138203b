"""Mutated data files: groups, pairs, questions, predictions, journals, results, subtitles.

Each is read within bounds and has the right types, or is refused in one line. A changed line of a
journal must not count ("wrong"), nor may text be read as its letters.
"""

import json
import os
import pathlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from fuzz.frame import mutate, outcome

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.collect import collect
from orl_jax.data.preferences import preference, read_preferences
from orl_jax.data.text.subtitles import read_cues
from orl_jax.evaluation.benchmarks.evaluations import read_evaluations
from orl_jax.evaluation.scoring.predictions import read_predictions
from orl_jax.evaluation.scoring.protocols import Protocol, score
from orl_jax.evaluation.scoring.submission import write_submission
from orl_jax.oracles.audit.asking import ask_all, plan, read_replies
from orl_jax.oracles.audit.sample import Case
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.baselines import longest
from orl_jax.oracles.function import FunctionOracle
from orl_jax.oracles.groups import read_groups, to_row
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.recorded import RecordedOracle
from orl_jax.report.record import read_record
from orl_jax.run.config import check_stored, from_json
from orl_jax.run.files import Journal, read_json_lines, write_json_lines
from orl_jax.run.reading import read_text

SECONDS = 20.0  # for one file on a busy machine; most take a hundredth of a second
CONFIG = pathlib.Path(__file__).parents[1] / "run" / "old_config.json"
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 2**200, 1e308, -0.5, "", "\ud800", "\x00", "a" * 100_000, [], {},
    [[]], ["a", 1], {"a": {"b": 1}}, float("nan"), float("inf"), "Yes", "../../etc/passwd", [None],
)  # fmt: skip
TEXTS = (
    b"", b"\n", b"\x00", b"\xff\xfe{\x00", b"[" * 100_000, b'{"a":' * 5000, b"9" * 5000,
    b'{"key": ' + b"9" * 5000 + b"}", b"null", b"[]", b'"a"', b'{"a": 1, "a": 2}', b"{}\n{}\n",
    "größer".encode("latin-1"), b'"', b"a,b,c\n1,2", b"NaN", b"-", b"{" + b" " * 10_000,
)  # fmt: skip


def campaign(count: int, seed: int, folder: pathlib.Path) -> Counter[str]:
    """The outcomes of reading `count` mutated files, made in `folder`.

    Example: `campaign(300, 0, Path("fuzz"))`.
    """
    rng, found = random.Random(seed), Counter()
    for number in range(count):
        write, read = rng.choice(KINDS)
        path = write(folder / str(number))
        before = path.read_bytes()
        _put_in(path, before, rng)
        ended = outcome(lambda path=path, read=read, before=before: read(path, before), SECONDS)
        found[ended] += 1
        if ended not in ("used", "refused"):
            print(f"seed {seed}, case {number}: {ended} of {read.__name__}: {path}")
    return found


def _put_in(path: pathlib.Path, content: bytes, rng: random.Random) -> None:
    """Replaces a file with something else."""
    kind = rng.randrange(20)
    if kind >= 10:
        path.write_bytes(_hostile(content, rng))
    elif kind >= 4:
        path.write_bytes(mutate(content, rng))
    elif kind >= 2:
        path.write_bytes(rng.choice(TEXTS))
    else:
        path.unlink()
        put = rng.randrange(4)
        if put == 0:
            path.mkdir()
        elif put == 1:
            os.mkfifo(path)
        elif put == 2:
            path.symlink_to(path.name)
        else:
            path.symlink_to("/dev/zero")


def _hostile(content: bytes, rng: random.Random) -> bytes:
    """One value of the JSON, or one cell of the text, replaced."""
    text = content.decode()
    lines = text.splitlines()
    try:
        if len(lines) > 1:
            place = rng.randrange(len(lines))
            lines[place] = json.dumps(_replaced(json.loads(lines[place]), rng))
            return ("\n".join(lines) + "\n").encode()
        return json.dumps(_replaced(json.loads(text), rng)).encode()
    except ValueError:  # no JSON lines
        pass
    try:
        return json.dumps(_replaced(json.loads(text), rng)).encode()
    except ValueError:
        words = text.split(",")
        words[rng.randrange(len(words))] = rng.choice(
            ('"', "", "\x00", "a" * 200_000, "\n", '"a"b')
        )
        return ",".join(words).encode()


def _replaced(tree: Any, rng: random.Random) -> Any:
    if isinstance(tree, dict | list) and tree and rng.random() < 0.8:
        place = rng.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        tree[place] = _replaced(tree[place], rng)
        return tree
    return rng.choice(HOSTILE)


def _groups(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    requests = [
        RankRequest(f"p{n}", "Red?", ("yes", "no", "so"), video=f"{n}.mp4", reference="yes",
                    paraphrases=("it is",), task_type="colour")
        for n in range(5)
    ]  # fmt: skip
    rankings = [None, Ranking((0, 1, 2)), Ranking.from_scores([1, 2, 2]), *[Ranking((1, 1, 1))] * 2]
    rows = [to_row(*each) for each in zip(requests, rankings, strict=True)]
    write_json_lines(folder / "groups.jsonl", rows)
    return folder / "groups.jsonl"


def _read_groups(path: pathlib.Path, _: bytes) -> None:
    for request, ranking in read_groups(path, "data"):
        texts = (request.question, *request.responses, *request.paraphrases)
        assert all(isinstance(text, str) for text in texts), request
        assert "Y" not in request.paraphrases, "a text was read as its letters"
        assert ranking is None or len(ranking.ranks) == request.size, ranking
    RecordedOracle(path).rank([request])


def _pairs(folder: pathlib.Path) -> pathlib.Path:
    item = {"item_id": "a", "video": "a.mp4", "question": "Who?"}
    rows = [preference(item, [("me", False), ("you", True)], n % 2) for n in range(4)]
    write_json_lines(folder / "pairs.jsonl", rows)
    return folder / "pairs.jsonl"


def _read_pairs(path: pathlib.Path, _: bytes) -> None:
    for pair in read_preferences(path):
        texts = (pair["question"], pair["video"], *(text for text, _ in pair["answers"]))
        assert all(isinstance(text, str) for text in texts), pair


def _questions(folder: pathlib.Path) -> pathlib.Path:
    rows = [
        {"id": f"i{n}", "video": f"{n}.mp4", "question": "Who?", "answer": "Me.",
         "paraphrases": ["I."], "options": [], "difficulty": 1, "split": "train"}
        for n in range(6)
    ]  # fmt: skip
    write_json_lines(folder / "items.jsonl", rows)
    return folder / "items.jsonl"


def _table(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    rows = [f'{n}.mp4,"Who, {n}?",Me {n}.,I.|Me.' for n in range(20)]
    (folder / "items.csv").write_text("\n".join(["video,question,answer,paraphrases", *rows]))
    return folder / "items.csv"


def _official(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    rows = [{"id": n, "question": "what?", "answer": "a cat", "video_id": n} for n in range(5)]
    (folder / "train_qa.json").write_text(json.dumps(rows))
    (folder / "youtube_mapping.txt").write_text("".join(f"v{n} vid{n}\n" for n in range(5)))
    return folder / "train_qa.json"


def _read_source(path: pathlib.Path, _: bytes) -> None:
    name = "msvd_qa" if path.name == "train_qa.json" else "own"
    splits = collect(BenchmarkSource(name, str(path.parent))).splits
    for item in (item for items in splits.values() for item in items):
        texts = [item[key] for key in ("item_id", "video", "question", "answer", "task_type")]
        assert all(isinstance(text, str) for text in [*texts, *item["paraphrases"]]), item


def _predictions(folder: pathlib.Path) -> pathlib.Path:
    rows = [
        {"item_id": f"i{n}", "response": "Me", "reference": "Me.", "paraphrases": ["I"],
         "question": "Who?", "task_type": "who", "options": []}
        for n in range(6)
    ]  # fmt: skip
    write_json_lines(folder / "p.jsonl", rows)
    return folder / "p.jsonl"


def _submission(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    videos = [
        {"video_id": f"{n}", "duration": "short", "domain": "Knowledge", "sub_category": "Art",
         "missing": False, "questions": [
            {"question_id": f"{n}-1", "task_type": "Counting", "question": "How many?",
             "options": ["A. 1", "B. 2", "C. 3", "D. 4"], "answer": "A", "response": "A. 1"}]}
        for n in range(3)
    ]  # fmt: skip
    (folder / "form.json").write_text(json.dumps(videos))
    return folder / "form.json"


def _read_submission(path: pathlib.Path, _: bytes) -> None:
    items = read_predictions(path)
    score(path, Protocol("video_mme")).summary()
    write_submission(path.with_name("again.json"), items)


def _chatgpt(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    rows = [{"video_name": f"v{n}", "Q": "Who?", "A": "Me.", "pred": "Me"} for n in range(4)]
    (folder / "list.json").write_text(json.dumps(rows))
    return folder / "list.json"


def _read_items(path: pathlib.Path, _: bytes) -> None:
    read_predictions(path)
    score(path, Protocol("text")).summary()


def _results(folder: pathlib.Path) -> pathlib.Path:
    _predictions(folder / "predictions")
    split = {"dataset": "own", "n": 6, "checkpoint": "c/sft/4", "skipped": ["a"], "folder": "data"}
    split["predictions"] = "predictions/p.jsonl"
    (folder / "results.json").write_text(json.dumps({"splits": {"test": split}}))
    return folder / "results.json"


def _read_results(path: pathlib.Path, _: bytes) -> None:
    read_record(path.parent)  # makes do with what is there
    read_evaluations([f"A={path.parent}"])


def _journal(folder: pathlib.Path) -> pathlib.Path:
    with Journal(folder / "j.jsonl") as journal:
        for n in range(6):
            journal.add({"key": f"k{n}", "kind": "parsed", "score": n % 6, "pred": "yes"})
    return folder / "j.jsonl"


def _read_journal(path: pathlib.Path, before: bytes) -> None:
    known = [json.loads(line) for line in before.splitlines()]
    known = [{key: value for key, value in row.items() if key != "seal"} for row in known]
    with Journal(path) as journal:
        # An unsealed line counts as an earlier version's; a campaign does not forge those.
        sealed = [entry for entry in journal if "kind" in entry]
    lost_seal = path.read_bytes().count(b'"seal"') < len(path.read_bytes().splitlines())
    assert lost_seal or all(entry in known for entry in sealed), "an edited line counts"


def _audit(folder: pathlib.Path) -> pathlib.Path:
    request = RankRequest("p", "Red?", ("yes", "nope", "so it is"))
    cases = [Case("a" * 8, request, None)]
    asks = plan(cases, AuditSettings(groups="x", pairs=0), ["listwise"])
    folder.mkdir()
    ask_all({"listwise": FunctionOracle(longest)}, cases, asks, folder / "answers.jsonl")
    return folder / "answers.jsonl"


def _read_audit(path: pathlib.Path, _: bytes) -> None:
    for ask, reply in read_replies(path).items():
        assert len(ask.slots) == len(reply.ranking.ranks), reply


def _subtitles(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    cues = [f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\nsaid {n}\n" for n in range(6)]
    (folder / "a.srt").write_text("\n".join(cues))
    return folder / "a.srt"


def _read_subtitles(path: pathlib.Path, _: bytes) -> None:
    assert all(cue.start < cue.end and cue.text for cue in read_cues(path))


def _config(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    (folder / "config.json").write_bytes(CONFIG.read_bytes())
    return folder / "config.json"


def _read_config(path: pathlib.Path, _: bytes) -> None:
    check_stored(from_json(read_text(path)), str(path))


def _metrics(folder: pathlib.Path) -> pathlib.Path:
    write_json_lines(folder / "metrics.jsonl", [{"step": n, "loss": 1 / (n + 1)} for n in range(9)])
    return folder / "metrics.jsonl"


def _read_metrics(path: pathlib.Path, _: bytes) -> None:
    read_json_lines(path)


KINDS: tuple[tuple[Callable[..., pathlib.Path], Callable[..., None]], ...] = (
    (_groups, _read_groups), (_pairs, _read_pairs), (_questions, _read_source),
    (_table, _read_source), (_official, _read_source), (_predictions, _read_items),
    (_results, _read_results), (_journal, _read_journal), (_audit, _read_audit),
    (_submission, _read_submission), (_chatgpt, _read_items), (_subtitles, _read_subtitles),
    (_config, _read_config), (_metrics, _read_metrics),
)  # fmt: skip

"""Workdirs as scripts/evaluate.py leaves them, and verdicts as scripts/score.py does."""

import json

from orl_jax.evaluation.benchmarks.benchmarks import read_benchmarks
from orl_jax.evaluation.benchmarks.evaluations import read_evaluations
from orl_jax.evaluation.scoring import qa_judge
from orl_jax.evaluation.scoring.judging import Settings, verdict_key

OPTIONS = ["A. red", "B. blue", "C. green", "D. black"]
JUDGE = ("http://127.0.0.1:1/v1", "judge-1")


def choice(number, reference, response, **more):
    item = {"item_id": f"q{number}", "task_type": "Temporal Perception", "question": "Which?"}
    item |= {"video": f"v{number}.mp4", "options": OPTIONS, "paraphrases": []}
    return {**item, "reference": reference, "response": response, **more}


def open_ended(number, response, **more):
    item = {"item_id": f"o{number}", "task_type": "what", "question": f"What is {number}?"}
    return {**item, "video": "", "reference": "Red", "response": response, "options": [], **more}


def write_evaluation(workdir, items, dataset="video_mme", split="test", named=True, **more):
    """Adds a split to a workdir; gives it back."""
    path = workdir / "predictions" / f"rl_{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    results = workdir / "results.json"
    splits = json.loads(results.read_text())["splits"] if results.exists() else {}
    about = {"dataset": dataset, "split": split, "checkpoint": "checkpoints/rl/150"}
    about |= {"predictions": f"predictions/{path.name}"} if named else {}
    splits[split] = {**about, "n": len(items), **more}
    results.write_text(json.dumps({"splits": splits}))
    return workdir


def write_verdicts(workdir, items, says, split="test", judge=JUDGE):
    """A journal: of each item (pred, score), or the kind of a reply that could not be read."""
    entries = []
    for question, said in zip(qa_judge.questions(items), says, strict=True):
        about = {"item_id": question.item_id, "address": judge[0], "model": judge[1]}
        entry = {"key": verdict_key(*judge, question), **about}
        read = not isinstance(said, str)
        kind = {"kind": "parsed", "pred": said[0], "score": said[1]} if read else {"kind": said}
        entries.append(entry | kind)
    path = workdir / "predictions" / f"rl_{split}.judge.judged.jsonl"
    with path.open("a") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)
    return path


def benchmarks(*named, baseline=None, judge=None):
    """Of pairs (name, workdir); the first name is the baseline."""
    evaluations = read_evaluations([f"{name}={workdir}" for name, workdir in named])
    return read_benchmarks(evaluations, baseline or named[0][0], judge or Settings())

"""A made-up run that is consistent in itself: real clips, predictions that add up to the results.

`python tests/report/example_run.py FOLDER` writes a large one with its report, to look at.
"""

import json
import pathlib
import sys
from typing import Any, NamedTuple

import av
import numpy as np

Row = dict[str, Any]

# task type -> question, answer with a gap, values
TASKS = {
    "action recognition": (
        "What does the red circle do?",
        "The red circle {}.",
        ("moves to the right", "moves to the left", "vanishes", "stays still"),
    ),
    "attribute perception": (
        "What colour is the cross?",
        "The cross is {}.",
        ("red", "blue", "yellow", "green"),
    ),
    "counting": (
        "How many objects are in the video?",
        "There are {} objects.",
        ("two", "three", "no"),
    ),
    "object recognition": (
        "What is the purple object?",
        "The purple object is a {}.",
        ("circle", "square", "triangle"),
    ),
    "spatial perception": (
        "Where is the white square at the end?",
        "The white square is {}.",
        ("on the left", "on the right", "at the top"),
    ),
    "temporal perception": (
        "When does the blue triangle vanish?",
        "The blue triangle vanishes {}.",
        ("near the start", "halfway", "near the end"),
    ),
}
SKILL = {"sft": 0.53, "control": 0.57, "rl": 0.77}
CONFIG = {
    "seed": 0,
    "data": {
        "frames": 8,
        "image_size": 32,
        "scenes": {"systematic_share": 0.55, "random_share": 0.08, "train": 6000},
    },
    "rl": {
        "algorithm": "grpo_rank",
        "group_size": 5,
        "batch": 64,
        "learning_rate": 3e-4,
        "advantage": {"form": "signed", "mix": 0.25, "discount": "log2"},
        "grpo": {"form": "standardised"},
        "ppo": {"gamma": 1.0, "lam": 0.95},
    },
    "oracle": {"name": "reference"},
}
SECONDS = {"data": 31.2, "vision": 74.0, "sft": 142.6, "rl": 98.4, "control": 98.7, "eval": 22.3}


class Example(NamedTuple):
    """Where it is."""

    workdir: pathlib.Path
    data_folder: pathlib.Path


def write_example(
    folder: pathlib.Path, *, steps: int = 12, items: int = 12, clips: int = 6
) -> Example:
    """Writes a workdir and its data folder.

    Args:
      folder: gets `runs/demo` and `data`.
      steps: of RL.
      items: of the test split for each task type; the composition split has a third as many.
      clips: mp4 files.
    """
    rng = np.random.default_rng(0)
    workdir, data = folder / "runs" / "demo", folder / "data"
    for name in ("rollouts", "predictions", "control"):
        (workdir / name).mkdir(parents=True)
    for index in range(clips):
        _write_clip(data / f"videos/test/{index:05d}.mp4", rng)
    results: Row = {model: _evaluated(workdir, model, items, clips) for model in SKILL}
    results |= {"seconds": SECONDS | {"total": sum(SECONDS.values())}, "config": CONFIG}
    (workdir / "results.json").write_text(json.dumps(results))
    write_lines(workdir / "metrics.jsonl", _metrics(steps, rng))
    write_lines(workdir / "control/metrics.jsonl", _sft_metrics(2 * steps, rng, 0.54, 0.57))
    for step in range(1, steps + 1):
        groups = [_group(step, step / steps, clips, i, rng) for i in range(2 * len(TASKS))]
        write_lines(workdir / f"rollouts/{step}.jsonl", groups)
    return Example(workdir, data)


def write_lines(path: pathlib.Path, rows: list[Row]) -> None:
    """Writes JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_clip(path: pathlib.Path, rng: np.random.Generator) -> None:
    """Sixteen frames of 32x32 pixels in which a coloured square crosses the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour, row = rng.integers(60, 255, 3), int(rng.integers(2, 20))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "18", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for t in range(16):
            picture = np.full((32, 32, 3), 30, np.uint8)
            picture[row : row + 9, t + 2 : t + 11] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _evaluated(workdir: pathlib.Path, model: str, items: int, clips: int) -> Row:
    splits = {}
    for split, count in (("test", items), ("composition", max(items // 3, 1))):
        rows = _predictions(model, split, count, clips)
        write_lines(workdir / f"predictions/{model}_{split}.jsonl", rows)
        splits[split] = _evaluation(split, rows)
    return {**splits["test"], "splits": splits}


def _predictions(model: str, split: str, count: int, clips: int) -> list[Row]:
    """The same items for every model; the weaker ones miss the harder items, with a few swaps."""
    shared = np.random.default_rng(1 if split == "test" else 2)
    own = np.random.default_rng(len(model))
    rows = []
    for number, (task, (question, sentence, values)) in enumerate(TASKS.items()):
        skill = SKILL[model] + (0.02 * number - 0.05) * (model == "rl")
        for i in range(count):
            truth = int(shared.integers(len(values)))
            correct = bool((shared.random() < skill) != (own.random() < 0.04))
            said = values[(truth + (not correct)) % len(values)]
            rows.append(
                {
                    "item_id": f"{split}/{i:05d}-{number}",
                    "task_type": task,
                    "question": question,
                    "video": f"videos/test/{i % clips:05d}.mp4",
                    "reference": sentence.format(values[truth]),
                    "paraphrases": [f"In short: {values[truth]}."],
                    "response": sentence.format(said),
                    "correct": correct,
                }
            )
    return rows


def _evaluation(split: str, rows: list[Row]) -> Row:
    categories = {task: _score([r for r in rows if r["task_type"] == task]) for task in TASKS}
    about = {"dataset": "scenes", "split": split, "checkpoint": "checkpoints/rl/60"}
    return about | _score(rows) | {"categories": categories}


def _score(rows: list[Row]) -> Row:
    accuracy = sum(row["correct"] for row in rows) / len(rows)
    return {"n": len(rows), "accuracy": accuracy, "sampled_accuracy": max(accuracy - 0.04, 0.0)}


def _metrics(steps: int, rng: np.random.Generator) -> list[Row]:
    warm_up = [{"stage": "vision", "step": s, "loss": 2.5 * 0.99**s} for s in range(0, 400, 20)]
    rows: list[Row] = warm_up + _sft_metrics(2 * steps, rng, 0.1, 0.53)
    for step in range(steps + 1):
        t = step / steps
        if step:
            rows.append({"stage": "rl", "step": step} | _rl_metrics(t, rng))
        if step % max(steps // 6, 1) == 0:
            rows.append({"stage": "rl", "step": step} | _validation(0.77 - 0.24 * np.exp(-4 * t)))
    return rows


def _sft_metrics(steps: int, rng: np.random.Generator, start: float, end: float) -> list[Row]:
    rows: list[Row] = []
    for step in range(1, steps + 1):
        t, where = step / steps, {"stage": "sft", "step": step * 10}
        loss = 0.25 + 1.9 * np.exp(-5 * t) + rng.normal(0, 0.03)
        rows.append(where | {"loss": loss, "accuracy/token": 0.9 - 0.6 * np.exp(-6 * t)})
        if step % max(steps // 8, 1) == 0:
            rows.append(where | _validation(start + (end - start) * t))
    return rows


def _validation(accuracy: float) -> Row:
    categories = {f"validation/category/{task}": accuracy for task in TASKS}
    overall = {"validation/accuracy": accuracy, "validation/sampled_accuracy": accuracy - 0.07}
    return overall | categories


def _rl_metrics(t: float, rng: np.random.Generator) -> Row:
    return {
        "loss": rng.normal(0, 0.01),
        "kl": 0.09 * t + abs(rng.normal(0, 0.005)),
        "entropy": 0.3 - 0.2 * t + rng.normal(0, 0.01),
        "grad_norm": 0.6 - 0.3 * t + abs(rng.normal(0, 0.08)),
        "rank/kendall_tau": 0.1 + 0.35 * t + rng.normal(0, 0.04),
        "advantage/abs_mean": 0.16 - 0.06 * t,
        "response/length_mean": 6.4 + rng.normal(0, 0.1),
        "group/no_signal_fraction": 0.35 + 0.3 * t + rng.normal(0, 0.03),
    }


def _group(step: int, t: float, clips: int, number: int, rng: np.random.Generator) -> Row:
    """A group whose answers are right or wrong; prompts come again every fourth step."""
    task = list(TASKS)[number % len(TASKS)]
    question, sentence, values = TASKS[task]
    right = rng.random(5) < 0.4 + 0.5 * t
    said = [values[0] if ok else values[1 + int(rng.integers(len(values) - 1))] for ok in right]
    log_probs = rng.normal(-2, 1, 5) + right * (2 * t - 0.7)
    predicted = np.argsort(np.argsort(-log_probs)).astype(float)
    return {
        "step": step,
        "prompt_id": f"train/{(step % 4) * 100 + number:05d}",
        "task_type": task,
        "video": f"videos/test/{number % clips:05d}.mp4",
        "question": question,
        "reference": sentence.format(values[0]),
        "responses": [sentence.format(value) for value in said],
        "log_probs": log_probs.tolist(),
        "predicted_ranks": predicted.tolist(),
        "valid": True,
        "reason": "",
    } | _ranked(right, predicted)


def _ranked(right: np.ndarray, predicted: np.ndarray) -> Row:
    """Oracle ranks with ties, penalties and advantages (the shape of mix 0.25)."""
    count, by_place = int(right.sum()), 1 / np.log2(2 + np.arange(5))
    shares = [by_place[:count], by_place[count:]]
    gains = np.array([shares[int(not ok)].mean() for ok in right])
    own = by_place[predicted.astype(int)]
    advantages = (gains - gains.mean() - 0.25 * (own - own.mean())) * (0 < count < 5)
    return {
        "oracle_ranks": np.where(right, (count - 1) / 2, (count + 4) / 2).tolist(),
        "advantages": advantages.tolist(),
        "penalties": (own - gains).tolist(),
    }


if __name__ == "__main__":
    from orl_jax.report.html import write_report

    written = write_example(pathlib.Path(sys.argv[1]), steps=60, items=180, clips=24)
    print(write_report(written.workdir, data_folder=written.data_folder))

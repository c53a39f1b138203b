"""The Vicuna benchmark as groups, on a small folder of the same form."""

import json
import subprocess
import sys

import pytest
from audit_cases import ROOT

from orl_jax.oracles.audit.vicuna import BASE, MODELS, vicuna_groups
from orl_jax.oracles.groups import read_groups
from orl_jax.run.errors import UserError

# Of each question the scores (model, base) in the order of MODELS.
SCORES = {
    1: [(8, 9), (9, 8.5), (9, 8.5), (6, 9)],  # -1, 0.5, 0.5, -3 and the base's 0
    2: [(8, 9), (-1, -1), (9, 8.5), (6, 9)],
    3: [(7, 9), (9, 9), (5, 10), (0, 9)],  # -2, 0, -5, -9, 0
}


@pytest.fixture
def folder(tmp_path):
    def write(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")

    write("question.jsonl", [
        {"question_id": n, "text": f"Question {n}?", "category": "generic"} for n in SCORES
    ])  # fmt: skip
    for model in (*MODELS, BASE):
        write(f"answer_{model}.jsonl", [
            {"question_id": n, "answer_id": f"{model}-{n}", "text": f"{model} on {n}"}
            for n in SCORES
        ])  # fmt: skip
    for place, model in enumerate(MODELS):
        write(f"review_{model}_{BASE}.jsonl", [
            {"question_id": n, "answer1_id": f"{model}-{n}", "answer2_id": f"{BASE}-{n}",
             "score": list(scores[place])}
            for n, scores in SCORES.items()
        ])  # fmt: skip
    return tmp_path


def test_orders_by_the_difference_within_each_review(folder):
    first, second, third = vicuna_groups(str(folder))
    assert first.request.responses == tuple(f"{m} on 1" for m in (*MODELS, BASE))
    assert first.request.task_type == "generic" and first.request.video is None
    assert first.ranking.ranks == (3, 0.5, 0.5, 4, 2)
    assert not second.ranking.valid and second.ranking.reason == "the review failed: of bard"
    assert third.ranking.ranks == (2, 0.5, 3, 4, 0.5)  # nine points for an empty answer are 0


def test_the_folders_of_the_release(folder):
    flat = vicuna_groups(str(folder))
    for kind in ("answer", "review"):
        (folder / kind).mkdir()
        for path in folder.glob(f"{kind}_*.jsonl"):
            path.rename(folder / kind / path.name)
    assert vicuna_groups(str(folder)) == flat


def test_the_script_writes_groups(folder):
    command = [sys.executable, str(ROOT / "scripts/audit_vicuna.py"), f"--folder={folder}",
               f"--output={folder}/new/groups.jsonl"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 groups, 2 with an order, are in")
    assert read_groups(folder / "new/groups.jsonl") == vicuna_groups(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "answer_bard.jsonl").unlink(), "answer_bard.jsonl is missing"),
        (lambda f: (f / "answer_bard.jsonl").write_text(""), "question 1 has no answer of bard"),
        (lambda f: (f / "question.jsonl").write_text("{\n"), "line 1, is not JSON"),
        (lambda f: (f / "review_bard_vicuna-13b.jsonl").write_text(
            (f / "review_gpt35_vicuna-13b.jsonl").read_text()), "which are not those"),
    ],
)  # fmt: skip
def test_refusals(folder, change, message):
    change(folder)
    with pytest.raises(UserError, match=message):
        vicuna_groups(str(folder))

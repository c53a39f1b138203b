"""Groups to rank, for the tests of this folder."""

import json

from orl_jax.oracles import RankRequest
from orl_jax.oracles.groups import to_row


def make_request(number, responses=("red", "blue", "green", "red", "grey"), **changes):
    """A group with a video videos/NUMBER.mp4."""
    values = {
        "prompt_id": f"train/{number}",
        "question": f"What colour is number {number}?",
        "responses": responses,
        "video": f"videos/{number}.mp4",
        "reference": "It is a secret.",
        "task_type": "colour",
    }
    return RankRequest(**values | changes)


def write_groups(path, requests):
    """A file that `--groups` names."""
    path.write_text("".join(json.dumps(to_row(request, None)) + "\n" for request in requests))
    return path


def rows(path):
    """The lines of a file of orders."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def saved(path):
    """Prompt -> text -> rank of its last line."""
    return {
        row["prompt_id"]: dict(zip(row["responses"], row["oracle_ranks"], strict=True))
        for row in rows(path)
    }

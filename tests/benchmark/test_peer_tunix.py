"""The lines between us and Tunix's process, with a stand-in for it."""

import sys

import numpy as np
import pytest

from orl_jax.benchmark import peer_tunix
from orl_jax.benchmark.peer_model import Sizes
from orl_jax.benchmark.peer_tunix import Tunix
from orl_jax.errors import Failure, UserError

STAND_IN = """
import json, sys
import numpy as np
job = json.loads(sys.argv[1])
assert job["sizes"]["group"] == 3 and job["heads"] == 1 and job["prompts"] == ["a b"]
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "log_probs" in request:
        batch = np.load(request["log_probs"])
        np.save("found.npy", batch["prompts"].sum() - batch["answers"])
        request = {"log_probs": "found.npy"}
    elif "train" in request:
        left = request["train"]
    elif not left:
        sys.exit("no step is left")
    else:
        left -= 1
        request = {"total": float(left)}
    print(json.dumps(request), flush=True)
"""


@pytest.fixture
def peer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def start(program=STAND_IN):
        (tmp_path / "program.py").write_text(program)
        monkeypatch.setattr(peer_tunix, "_PROGRAM", tmp_path / "program.py")
        return Tunix(tmp_path / "model", Sizes(width=64, group=3), ["a b"], sys.executable)

    return start


def test_log_probs_travel_as_arrays(peer):
    with peer() as other:
        found = other.log_probs(np.array([[1, 2]]), np.array([[3, 4]]))
    np.testing.assert_array_equal(found, [[0, -1]])


def test_ours_is_between_two_of_theirs(peer):
    turns = []
    with peer() as other:
        found = other.train(3, lambda: turns.append("ours"))
        assert [step["total"] for step in found] == [2, 1, 0] and turns == ["ours"] * 2
        with pytest.raises(Failure, match="ended with 1: no step is left"):
            other._ask({"go": True})


def test_no_process_is_left(peer):
    with peer() as other:
        process = other._process
        assert process.poll() is None
    assert process.poll() is not None


def test_an_environment_without_it_is_named(peer):
    with pytest.raises(UserError, match=r"can't run Tunix.*google-tunix==0.1.7.*No module named"):
        peer("import no_such_module")

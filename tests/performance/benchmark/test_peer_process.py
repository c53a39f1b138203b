"""The exchange with a peer's process: both ends, with a stand-in for the peer."""

import sys
import time

import numpy as np
import pytest

from orl_jax.performance.benchmark import peer_process
from orl_jax.performance.benchmark.peer_model import Sizes
from orl_jax.performance.benchmark.peer_process import PeerProcess
from orl_jax.run.errors import Failure, UserError

STAND_IN = """
import sys
sys.path.insert(0, PEERS)
from peer_protocol import PeerConnection
connection = PeerConnection()
job = connection.job
assert job["sizes"]["group"] == 3 and job["heads"] == 1 and job["prompts"] == ["a b"]
print("not a reply")

def train(steps):
    for left in reversed(range(steps)):
        connection.begin()
        open(f"begun_{left}", "w")
        connection.spent["left"] += left
        connection.timed("nothing", int)
        connection.end()
    sys.exit("no step is left")

connection.serve(lambda prompts, answers: prompts.sum() - answers, train, ["numpy"])
""".replace("PEERS", repr(str(peer_process._PROGRAMS)))


@pytest.fixture
def peer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def start(program=STAND_IN, python=sys.executable, prompt="a b"):
        (tmp_path / "tunix_process.py").write_text(program)
        monkeypatch.setattr(peer_process, "_PROGRAMS", tmp_path)
        return PeerProcess("tunix", tmp_path / "model", Sizes(width=64, group=3), [prompt], python)

    return start


def test_prompts_may_be_longer_than_an_argument(peer):
    """Linux limits an argument to 128 KiB."""
    with peer(STAND_IN.replace('["a b"]', '["a" * 200000]'), prompt="a" * 200_000) as other:
        assert other.versions


def test_log_probs_are_exchanged_as_arrays(peer):
    with peer() as other:
        assert other.versions == {"numpy": np.__version__}
        found = other.log_probs(np.array([[1, 2]]), np.array([[3, 4]]))
    np.testing.assert_array_equal(found, [[0, -1]])


def test_our_step_runs_between_two_of_theirs(peer, tmp_path):
    begun = []

    def ours():
        time.sleep(0.3)  # long enough for their next step, if it did not wait
        begun.append(len(list(tmp_path.glob("begun_*"))))

    with peer() as other:
        found = other.train(3, ours)
        assert [step["left"] for step in found] == [2, 1, 0] and begun == [1, 2]
        for step in found:
            assert step["total"] == pytest.approx(step["left"] + step["nothing"] + step["rest"])
        with pytest.raises(Failure, match="ended with 1: no step is left"):
            other._ask({"go": True})
        with pytest.raises(Failure, match="no step is left"):
            other.train(1, ours)


def test_the_process_is_ended(peer):
    with peer() as other:
        process = other._process
        assert process.poll() is None
    assert process.poll() is not None


def test_an_environment_without_the_peer_is_named(peer):
    missing = "import no_such_module"
    with pytest.raises(UserError, match=r"_python=.*google-tunix==0.1.7.*No module named"):
        peer(missing)
    with pytest.raises(UserError, match=r"--peer=tunix cannot run tunix"):
        peer(missing, python="")

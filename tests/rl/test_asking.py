"""How training asks its Oracle: a signal ends the call, and nobody updates on what is left."""

import os
import signal
import threading
import time

import pytest

from orl_jax.oracles import NoisyOracle, Ranking, RankRequest
from orl_jax.rl.asking import Asker, AskingSettings
from orl_jax.run import background, stop
from orl_jax.run.stop import StopRequested, StopSignal

REQUESTS = [RankRequest("p0", "?", ("a", "b")), RankRequest("p1", "?", ("a", "b"))]


class Waiting:
    """Ranks the first request; the second only unless it is asked to stop, or is cancelled."""

    def __init__(self):
        self.asked, self.cancelled = threading.Event(), threading.Event()

    def rank(self, requests):
        self.asked.set()
        end = time.monotonic() + 20
        while time.monotonic() < end and not stop.requested() and not self.cancelled.is_set():
            time.sleep(0.02)
        return [Ranking.from_order([0, 1], 2), Ranking.invalid("stopped: before the reply", 2)]

    def cancel(self):
        self.cancelled.set()


@pytest.mark.parametrize("background", [False, True])
def test_a_signal_ends_the_call_and_nothing_is_trained_on(background):
    settings = AskingSettings(background=background)
    with Asker(Waiting(), settings) as asker, StopSignal():
        answer = asker.begin(REQUESTS)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        start = time.monotonic()
        with pytest.raises(StopRequested, match="SIGTERM"):
            answer()
        assert time.monotonic() - start < 5
    assert stop.requested() is None  # the next run of this process is not stopped


def test_a_signal_after_the_rankings_leaves_them():
    class Late:
        def rank(self, requests):
            os.kill(os.getpid(), signal.SIGTERM)
            return [Ranking.from_order([0, 1], 2)] * 2

    with Asker(Late()) as asker, StopSignal():
        assert all(ranking.valid for ranking in asker.begin(REQUESTS)().rankings)


def test_a_signal_ends_the_pause_before_asking_again():
    failing = NoisyOracle(Waiting(), invalid_probability=1.0)
    settings = AskingSettings(halt_above=0.1, pause_seconds=30.0)
    failing.inner.cancelled.set()
    with Asker(failing, settings) as asker, StopSignal():
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        start = time.monotonic()
        with pytest.raises(StopRequested):
            asker.begin(REQUESTS)()
        assert time.monotonic() - start < 5


def test_closing_ends_what_is_asked_in_the_background():
    inner = Waiting()
    asker = Asker(NoisyOracle(inner), AskingSettings(background=True))
    answer = asker.begin(REQUESTS)
    assert inner.asked.wait(20)
    asker.close()
    assert inner.cancelled.is_set() and len(answer().rankings) == 2


def test_an_oracle_that_cannot_be_cancelled_is_left_to_itself(monkeypatch):
    monkeypatch.setattr(background, "GRACE_SECONDS", 0.2)
    never = threading.Event()

    class Deaf:
        def rank(self, requests):
            never.wait(60)
            return [Ranking.from_order([0, 1], 2)] * 2

    with Asker(Deaf()) as asker, StopSignal():
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        start = time.monotonic()
        with pytest.raises(StopRequested, match="SIGTERM"):
            asker.begin(REQUESTS)()
        assert time.monotonic() - start < 10
    never.set()

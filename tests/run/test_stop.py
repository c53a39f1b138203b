import os
import signal
import threading
import time

import pytest

from orl_jax.run import background, stop
from orl_jax.run.background import Background
from orl_jax.run.stop import StopRequested, StopSignal


def test_the_first_signal_is_a_request() -> None:
    with StopSignal() as stop:
        assert stop.requested is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == signal.SIGTERM
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == signal.SIGINT  # the first one determines the exit status


def test_a_second_ctrl_c_aborts() -> None:
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_previous_handlers_are_restored() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(StopRequested), StopSignal():
        assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] != before
        raise StopRequested(signal.SIGINT)
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_it_does_nothing_off_the_main_thread() -> None:
    seen = []

    def loop() -> None:
        with StopSignal() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    assert seen == [None]


def _child(signum: int) -> int:
    """The wait status of a process forked inside a StopSignal, after a signal."""
    with StopSignal():
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signum)
            os._exit(7)
        return os.waitpid(pid, 0)[1]


# Under pytest jax may have been imported, whose threads make Python warn of any fork.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_forked_worker_ends_on_sigterm_and_ignores_ctrl_c() -> None:
    assert os.WTERMSIG(_child(signal.SIGTERM)) == signal.SIGTERM
    assert os.WEXITSTATUS(_child(signal.SIGINT)) == 7


def test_stop_requested_names_its_signal() -> None:
    error = StopRequested(signal.SIGTERM)
    assert error.signum == 15 and str(error) == "stopped by SIGTERM"


def test_a_wait_ends_soon_after_a_stop_is_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "GRACE_SECONDS", 0.2)
    never, quick = threading.Event(), Background("quick")
    with Background("slow") as slow, StopSignal(), quick:
        pending, begun = slow.start(never.wait), time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested() == signal.SIGTERM
        assert quick.start(lambda: 7).result() == 7  # what is done in time still counts
        with pytest.raises(StopRequested):
            pending.result()
        stop.sleep(60)
        assert time.monotonic() - begun < 10
    never.set()
    assert stop.requested() is None


def test_what_a_call_raises_reaches_whoever_waits() -> None:
    def fail() -> None:
        raise TimeoutError("no answer")

    with Background("failing") as thread, pytest.raises(TimeoutError, match="no answer"):
        thread.start(fail).result()

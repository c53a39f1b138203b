"""A small RL run that is killed (SIGKILL) again and again, and must end as if it had not been.

    python tests/rl/kills.py --count=100 --folder=FOLDER

Each run begins from one SFT checkpoint. It is killed two to ten times, at a random moment of a
random phase (rollout, Oracle, update, save, validation), each time started again, and then left to
end. Its parameters, optimiser and data position must be those of the run that nobody killed, bit
for bit. The command prints what was killed where, and how many runs differ; its exit status is 0
if none does. The same seed has the same moments, as far as the machine's speed allows.

This process imports everything once and forks for each life; it never starts jax itself.
"""

import argparse
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import programs

os.environ.setdefault("JAX_PLATFORMS", "cpu")
programs.use()  # before the first import of jax

from orl_jax.evaluation.evaluator import Evaluator
from orl_jax.rl import stage as rl
from orl_jax.rl.learner import Learner
from orl_jax.run import config as configs
from orl_jax.run.checkpoint import Checkpoints

# Phase -> what begins it, and the longest wait between its beginning and the kill, in seconds.
PHASES: dict[str, tuple[type, str, float]] = {
    "rollout": (Learner, "_take", 0.4),
    "oracle": (Learner, "_judged", 0.02),  # the Oracle has answered, nothing has come of it
    "update": (Learner, "_update", 0.2),
    "save": (Checkpoints, "save", 0.4),
    "validation": (Evaluator, "validation", 0.4),
}
LIFE_SECONDS = 300  # a process that takes longer hangs


class Kill(NamedTuple):
    """When a life ends: in which call of a phase, and how long after its beginning."""

    phase: str
    call: int
    delay: float


def draw(chance: random.Random) -> Kill:
    """A random moment."""
    phase = chance.choice(sorted(PHASES))
    return Kill(phase, chance.randint(1, 2), chance.uniform(0, PHASES[phase][2]))


def live(config: str, workdir: str, kill: Kill | None = None) -> int:
    """Trains in a forked process; returns its exit status, negative if a signal ended it."""
    if not (pid := os.fork()):
        status = 1
        try:
            if kill is not None:
                _arm(kill)
            rl.train(configs.from_json(config), workdir)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return _end(pid)


def _arm(kill: Kill) -> None:
    """Has this process kill itself."""
    owner, name, _ = PHASES[kill.phase]
    call, calls = getattr(owner, name), []

    @functools.wraps(call)
    def counted(*args: Any, **keywords: Any) -> Any:
        calls.append(name)
        if len(calls) == kill.call:
            if not kill.delay:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(kill.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return call(*args, **keywords)

    setattr(owner, name, counted)


def _end(pid: int) -> int:
    deadline = time.monotonic() + LIFE_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"a run hung for {LIFE_SECONDS} s")


def ending(workdir: str) -> bytes:
    """The last checkpoint's arrays and data position, read in a process of its own."""
    read, write = os.pipe()
    if not (pid := os.fork()):
        try:
            os.write(write, _digest(workdir).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read()
    os.waitpid(pid, 0)
    return found


def _digest(workdir: str) -> str:
    import hashlib

    import jax
    import numpy as np

    with Checkpoints(workdir, "rl") as checkpoints:
        state, extra = checkpoints.restore()
    digest = hashlib.sha256(json.dumps(extra["data"], sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return f"step {int(state['step'])}: {digest.hexdigest()}"


def campaign(
    count: int, seed: int, folder: pathlib.Path, config: str, whole: str, say: Callable = print
) -> Counter:
    """Kills runs `count` times in all.

    Args:
      count: of kills.
      seed: of the moments.
      folder: for the workdirs.
      config: of the run, as JSON.
      whole: workdir of the run that nobody killed.
      say: gets a line for each run.

    Returns:
      Kills by phase; runs, and how many "differ", "failed" (status) or were "not killed" in a life
      (the moment came after the run's end).
    """
    chance, counts, expected = random.Random(seed), Counter(), ending(whole)
    while sum(counts[phase] for phase in PHASES) < count:
        counts["runs"] += 1
        workdir, kills = str(folder / "lives" / str(counts["runs"])), []
        for _ in range(chance.randint(2, 10)):
            if sum(counts[phase] for phase in PHASES) == count:
                break
            kill = draw(chance)
            status = live(config, workdir, kill)
            killed = status == -signal.SIGKILL
            counts[kill.phase if killed else "not killed" if status == 0 else "failed"] += 1
            if not killed:  # the moment came after the run's end
                break
            kills.append(f"{kill.phase} {kill.call} +{kill.delay:.3f} s")
        status = live(config, workdir)
        same = status == 0 and ending(workdir) == expected
        counts["failed"] += status != 0
        counts["differ"] += not same
        say(f"run {counts['runs']}: {'same' if same else 'DIFFERS'} after {'; '.join(kills)}")
        if same:
            shutil.rmtree(workdir)
    return counts


def prepare(folder: pathlib.Path) -> str:
    """A tiny SFT run in `folder`, made by another process; returns the config of RL from it."""
    if not (folder / "done").exists() and not (pid := os.fork()):
        import tiny_run

        tiny_run.once(folder, tiny_run._train)
        os._exit(0)
    elif not (folder / "done").exists():
        os.waitpid(pid, 0)
    import tiny_run

    config = tiny_run.tiny_config(folder / "data")
    config.unlock()
    config.rl.init_from = f"{folder}/run/checkpoints/sft"
    config.checkpoint.every_steps = 1
    config.evaluation.update(validation_items=4, samples=0)
    return configs.to_json(config)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--config", help="a JSON file; by default a tiny run is made in FOLDER")
    parser.add_argument("--whole", help="workdir of an undisturbed run of that config")
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    config = pathlib.Path(flags.config).read_text() if flags.config else prepare(flags.folder)
    whole = flags.whole or str(flags.folder / "whole")
    if not flags.whole and live(config, whole):
        raise SystemExit("the undisturbed run failed")
    say = functools.partial(print, flush=True)
    counts = campaign(flags.count, flags.seed, flags.folder, config, whole, say)
    say(json.dumps({**counts, "seconds": round(time.monotonic() - begun)}))
    return 1 if counts["differ"] or counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""How long each script takes to save and end after SIGTERM, at moments of its work.

    python tests/training/stops.py --folder=FOLDER

Each script begins from a tiny run in FOLDER, which is made first. The signal is sent some seconds
after a sign of the moment: a text on standard error, a row of metrics, a file, or that the Oracle
was asked. Prints a row for each moment; the exit status is 0 if all end within 30 s.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT}/configs/demo.py:tiny"
LIMIT = 30.0  # seconds that a stop may take
LONGEST = 400.0  # seconds until the moment comes
ORACLE = """
import os, pathlib, time
def slow(request):
    pathlib.Path("asked").touch()
    time.sleep(float(os.environ["ORACLE_SECONDS"]))
    return sorted(range(request.size), key=lambda i: len(request.responses[i]))
"""


class Moment(NamedTuple):
    """When the signal comes.

    Attributes:
      script, flags: of the command.
      name: what it is doing then.
      sign: "said TEXT" on standard error, "row TEXT" of metrics, "file GLOB" in the workdir,
        "asked" of the Oracle, or "" for its start.
      seconds: after the sign.
      oracle: how long the Oracle takes for an answer.
    """

    script: str
    flags: tuple[str, ...]
    name: str
    sign: str
    seconds: float
    oracle: float = 0.0


def moments(run: str) -> list[Moment]:
    """All moments; `run` is the workdir that they begin from."""
    of_sft, rows = f"{run}/checkpoints/sft", f"{run}/rollouts/1.jsonl"
    vision = ("train_vision", ())
    sft = ("train_sft", (f"--config.sft.init_from={run}/checkpoints/vision",))
    rl = ("train_rl", (f"--config.rl.init_from={of_sft}",))
    own = ("train_rl", (*rl[1], "--config.oracle.name=slow_oracle:slow"))
    reward = ("train_reward", (f"--config.reward.init_from={of_sft}",
                               f"--config.reward.pairs={run}/preferences.jsonl"))  # fmt: skip
    ranker = ("train_oracle", (f"--config.ranker.init_from={of_sft}",
                               f"--config.ranker.orders={run}/groups.jsonl"))  # fmt: skip
    evaluate = ("evaluate", (f"--checkpoint={run}/checkpoints/rl",))
    audit = ("audit_oracle", (f"--config.audit.groups={rows}", own[1][-1]))
    return [
        Moment(*vision, "the first step compiles", "said 0/4", 3),
        Moment(*sft, "it starts", "", 3),
        Moment(*sft, "the first validation compiles", "said 0/6", 1),
        Moment(*sft, "the first step compiles", "row validation/accuracy", 2),
        Moment(*sft, "it saves", "file checkpoints/sft/*tmp*", 0),
        Moment(*rl, "it starts", "", 3),
        Moment(*rl, "the first validation compiles", "said 0/4", 1),
        Moment(*rl, "the rollout compiles", "row validation/accuracy", 2),
        Moment(*own, "the Oracle is in a call of ten minutes", "asked", 1, 600),
        Moment(*own, "the update compiles", "asked", 2),
        Moment(*rl, "it saves", "file checkpoints/rl/*tmp*", 0),
        Moment(*rl, "step 2 is logged (its validation follows)", 'row "step": 2', 0),
        Moment(*rl, "step 4 is logged (the last validation follows)", 'row "step": 4', 0),
        Moment(*reward, "the first step compiles", "said 0/4", 2),
        Moment(*reward, "it saves", "file checkpoints/reward/*tmp*", 0),
        Moment(*ranker, "the first step compiles", "said 0/4", 2),
        Moment(*ranker, "it saves", "file checkpoints/oracle/*tmp*", 0),
        Moment(*evaluate, "it starts", "", 3),
        Moment(*evaluate, "the first batch compiles", "said 0/34", 2),
        Moment(*evaluate, "it answers", "file answered/*_composition.jsonl", 0),
        Moment(*audit, "the Oracle is in a call of ten minutes", "asked", 1, 600),
        Moment("make_preferences", (f"--config.preferences.init_from={of_sft}",),
               "the first batch compiles", "said 0/24", 2),
        Moment("prepare_data", (), "it draws clips", r"said [1-9]\d*/40", 0),
    ]  # fmt: skip


def command(script: str, data: pathlib.Path, workdir: pathlib.Path, *flags: str) -> list[str]:
    """The command of a script."""
    place = () if script == "prepare_data" else (f"--workdir={workdir}",)
    folder = f"--config.data.folder={data}"
    return [sys.executable, f"{ROOT}/scripts/{script}.py", CONFIG, folder, *place, *flags]


def prepare(folder: pathlib.Path) -> str:
    """The tiny run that all moments begin from; returns its workdir."""
    data, run = folder / "data", folder / "run"
    from_vision = f"--config.sft.init_from={run}/checkpoints/vision"
    if not (folder / "done").exists():
        for script, *flags in (
            ("prepare_data",), ("train_vision",), ("train_sft", from_vision), ("train_rl",),
            ("make_preferences",),
        ):  # fmt: skip
            subprocess.run(command(script, data, run, *flags), check=True, cwd=folder)
        (folder / "done").touch()
    (folder / "slow_oracle.py").write_text(ORACLE)
    return str(run)


def stop(moment: Moment, folder: pathlib.Path) -> tuple[float, int, list[str]]:
    """Seconds from the signal to the end, the exit status, and the checkpoints that are there."""
    workdir, errors = folder / "stopped", folder / "errors.txt"
    shutil.rmtree(workdir, ignore_errors=True)
    data = folder / "data" if moment.script != "prepare_data" else workdir
    (folder / "asked").unlink(missing_ok=True)
    with errors.open("w") as file:
        process = subprocess.Popen(
            command(moment.script, data, workdir, *moment.flags), cwd=folder, stderr=file,
            stdout=file, env=os.environ | {"ORACLE_SECONDS": str(moment.oracle)},
        )  # fmt: skip
    deadline = time.monotonic() + LONGEST
    while not _is_there(moment.sign, workdir, errors, folder):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"{moment.script}: no moment when {moment.name}")
        time.sleep(0.002)
    time.sleep(moment.seconds)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = process.wait(LONGEST)
    seconds = time.monotonic() - begun
    steps = (workdir / "checkpoints").glob("*/[0-9]*")
    return seconds, status, sorted(str(path.relative_to(workdir / "checkpoints")) for path in steps)


def _is_there(sign: str, workdir: pathlib.Path, errors: pathlib.Path, folder: pathlib.Path) -> bool:
    kind, _, what = sign.partition(" ")
    if kind == "said":
        return bool(re.search(rf"\b{what}", errors.read_text(errors="replace")))
    if kind == "row":
        rows = workdir / "metrics.jsonl"
        return rows.exists() and bool(re.search(what, rows.read_text()))
    if kind == "file":
        return any(workdir.glob(what))
    return kind != "asked" or (folder / "asked").exists()


def main() -> int:
    """Measures all moments, or those of one script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--script", default="", help="only this one, for example train_rl")
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    worst = 0.0
    print("| script | sent while | ends after | status | checkpoints |\n|---|---|---|---|---|")
    for moment in moments(prepare(folder)):
        if given.script in ("", moment.script):
            seconds, status, there = stop(moment, folder)
            worst = max(worst, seconds)
            row = (moment.script, moment.name, f"{seconds:.1f} s", status, ", ".join(there) or "-")
            print("|", " | ".join(map(str, row)), "|", flush=True)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())

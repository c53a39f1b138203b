"""Command lines with one fault each: status 2 and one line on standard error, within seconds.

Flags that do not exist, values of other types or beyond their limits, files that are missing, are
folders, FIFOs or devices, names that are too long. In this process, so that 200 take minutes.
"""

import contextlib
import io
import os
import pathlib
import random
import traceback
from collections import Counter

import absl.logging  # noqa: F401  flags of packages are defined once, not by each script
import grain.python  # noqa: F401
from fuzz.frame import TookTooLong, bounded

import scripts

SECONDS = 60.0  # for one command on a busy machine; most take a second
NAMES = sorted(path.stem for path in scripts.FOLDER.glob("*.py") if path.stem != "bandit")
CONFIG = scripts.FOLDER.parent / "configs" / "demo.py"
TRAINING = ("train_vision", "train_sft", "train_rl", "train_oracle", "train_reward")
OTHERS = ("prepare_data", "compare", "demo", "make_preferences", "audit_oracle", "plan_memory",
          "profile_step", "benchmark", "import_weights")  # fmt: skip
# Files that a flag names, by script: the flag, and what else the command needs.
FILES = (
    ("score", "predictions", ()), ("rank_by_hand", "groups", ("--output={new}", "--ranker=a")),
    ("rank_by_hand", "output", ("--groups={groups}", "--ranker=a")),
    ("evaluate", "checkpoint", ("--workdir={new}",)), ("chat", "checkpoint", ("--video={new}",)),
    ("export_weights", "checkpoint", ("--output={new}",)),
    ("audit_vicuna", "folder", ("--output={new}",)),
    ("audit_gains", "start", ("--oracle=a,{new},{new}",)),
    ("report_benchmarks", "evaluation", ("--workdir={new}",)),
)  # fmt: skip
VALUES = (
    "seed=-1", "seed=9223372036854775808", "seed=x", "seed=", "rl.group_size=1", "rl.steps=-5",
    "rl.learning_rate=nan", "rl.learning_rate=0", "rl.learning_rate=1e999", "rl.temperature=-1",
    "model.language.layers=0", "model.language.width=-8", "model.vision.heads=0",
    "model.vision.patch_size=0", "model.adapter.queries=-1", "model.language.heads=3",
    "model.lora.rank=0", "model.lora.alpha=nan", "data.frames=0", "data.image_size=-64",
    "data.framing=stretch", "rl.algorithm=grpo_rnak", "rl.advantage.mix=2", "oracle.policy=maybe",
    "checkpoint.keep=0", "monitors.stop_on=(1,", "monitors.stop_on=('x',)", "rl=3", "nothing=1",
    "rl.nothing=1", "seed=1" + "0" * 400, "model.language.rope_base=0", "data.workers=-1",
    "source.name=mine", "sft.answers=[]", "judge.asks=0", "server.timeout=inf", "mesh.data=0",
    "model.language.layers=1000000000", "evaluation.choice=number", "rl.kl_estimator=k9",
)  # fmt: skip
FLAGS = (
    "--workdri=x", "--config", "--config=", "--config=none.py", "--config=/", "--config=/dev/null",
    "--config=setup.cfg", "surplus", "--flagfile=/etc/passwd", "--debug=maybe", "--process_id=x",
    "--config.rl", "--config.rl.group_size", "--noconfig", "--=3", "--config.=3", "-config.rl.x=1",
    "--num_processes=1e9", "--workdir", "--undefok=x", "\udcff", "--workdir=\udcff",
)  # fmt: skip


def campaign(count: int, seed: int, folder: pathlib.Path) -> Counter[str]:
    """The outcomes of `count` command lines: "refused", or what went wrong.

    Example: `campaign(200, 0, Path("fuzz"))`.
    """
    rng, found = random.Random(seed), Counter()
    folder.mkdir(exist_ok=True)
    places = _places(folder)
    before = _listing(folder)
    for number in range(count):
        name, arguments = _command(rng, places)
        ended, said = _run(name, arguments)
        if ended == "refused" and (new := _listing(folder) - before):
            ended, said, before = "left behind", f"{said}\n{new}", before | new
        found[ended] += 1
        if ended != "refused":
            print(f"seed {seed}, case {number}: {ended}: {name} {arguments}\n{said}")
    return found


def _places(folder: pathlib.Path) -> dict[str, str]:
    """Paths of every kind that is no file of the right content, and of one that is."""
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "empty").touch()
    (folder / "bytes").write_bytes(bytes(range(256)))
    (folder / "deep").write_text("[" * 100_000)
    (folder / "loop").symlink_to("loop")
    (folder / "groups").write_text('{"prompt_id": 1, "question": "?", "responses": ["a", "b"]}\n')
    names = ("folder", "fifo", "empty", "bytes", "deep", "loop", "missing")
    places = {name: str(folder / name) for name in names}
    places |= {"device": "/dev/zero", "long": str(folder / ("n" * 300)), "proc": "/proc/none/x"}
    places |= {"under": "/dev/null/x", "very long": "/".join(["d" * 200] * 40)}
    return places | {"new": str(folder / "new"), "groups": str(folder / "groups")}


def _command(rng: random.Random, places: dict[str, str]) -> tuple[str, list[str]]:
    kind = rng.randrange(4)
    workdir = f"--workdir={places['new']}"
    if kind == 0:
        name = rng.choice(NAMES)
        return name, [f"--config={CONFIG}:tiny", workdir, rng.choice(FLAGS)]
    if kind == 1:
        name = rng.choice(TRAINING + OTHERS)
        value = rng.choice(VALUES)
        return name, [f"--config={CONFIG}:tiny", workdir, f"--config.{value}"]
    if kind == 2:
        name, flag, more = rng.choice(FILES)
        bad = [p for n, p in places.items() if n not in ("new", "groups", *_FINE.get(flag, ()))]
        path = rng.choice(bad)
        path = f"A={path}" if flag == "evaluation" else path
        return name, [f"--{flag}={path}", *(each.format(**places) for each in more)]
    name = rng.choice(TRAINING + OTHERS)
    bad = [places[n] for n in ("fifo", "empty", "loop", "long", "under", "very long")]
    data = f"--config.data.folder={places['missing']}"
    return name, [f"--config={CONFIG}:tiny", f"--workdir={rng.choice(bad)}", data]


# A new or empty file is a fine --output.
_FINE = {"output": ("missing", "empty")}


def _run(name: str, arguments: list[str]) -> tuple[str, str]:
    said = io.StringIO()
    try:
        with (
            bounded(SECONDS), contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(io.StringIO()),
        ):  # fmt: skip
            status = scripts.status_of(name, *arguments)
    except TookTooLong:
        return "hang", said.getvalue()
    except BaseException:
        return "traceback", traceback.format_exc()
    text = said.getvalue()
    lines = [line for line in text.splitlines() if line.startswith(("error: ", "failed: "))]
    if "Traceback" in text:
        return "traceback", text
    if status != 2 or len(lines) != 1 or len(lines[0]) > 2500:
        return f"status {status}", text
    return "refused", text


def _listing(folder: pathlib.Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if not path.name.startswith("config")}

"""Mutated checkpoints: what resuming a stage and beginning from one make of them.

`campaign(count, seed, folder)` counts outcomes. Good ones are "refused" (a `UserError` of one line)
and "same" (every array and the extra are what was written: the mutation hit nothing that counts);
all others are named after what went wrong: "trained on" (something else was read, without a word),
"traceback", "hang", "not one line".

    python tests/fuzz/run.py checkpoints
"""

import json
import os
import pathlib
import random
import runpy
import shutil
import signal
import sys
import time
from collections import Counter
from typing import Any

import jax
import numpy as np

from orl_jax.models.assembly import load_params, stored_config
from orl_jax.run.checkpoint import Checkpoints, locate
from orl_jax.run.config import to_json
from orl_jax.run.errors import UserError

SECONDS = 20.0  # that one checkpoint may take on a busy machine; most take less than one
GOOD = ("refused", "same")
ROOT = pathlib.Path(__file__).parents[2]
CONFIG = json.loads(to_json(runpy.run_path(str(ROOT / "configs/demo.py"))["get_config"]("tiny")))


class TookTooLong(BaseException):
    """Raised by the alarm; no handler of ordinary errors catches it."""


def campaign(count: int, seed: int, folder: pathlib.Path) -> Counter:
    """Reads `count` mutated runs, made in `folder`; the outcomes by name.

    What is not good is printed with the number of the case, which `case` repeats.
    """
    whole = make_run(folder / "whole")
    expected = _read(whole)
    found: Counter = Counter()
    for number in range(count):
        outcome, what = case(seed, number, whole, folder / "case", expected)
        found[outcome] += 1
        if outcome not in GOOD:
            print(f"seed {seed}, case {number}: {outcome}: {what}", file=sys.stderr)
    return found


def make_run(folder: pathlib.Path) -> pathlib.Path:
    """A run with two checkpoints of RL on top of one of SFT."""
    draw = np.random.default_rng(0)
    base = {"trained": {"language": {"kernel": draw.normal(size=(40, 30)).astype(np.float32)}}}
    with Checkpoints(str(folder), "sft") as checkpoints:
        checkpoints.save(2, base, {"config": CONFIG, "base": ""})
    identity = locate(str(checkpoints.folder)).identity
    with Checkpoints(str(folder), "rl") as checkpoints:
        for step in (1, 2):
            lora = draw.normal(size=(40, 2)).astype(np.float32)
            state = {"step": np.int32(step), "trained": {"language": {"lora_a": lora}}}
            extra = {"config": CONFIG, "base": "checkpoints/sft/2", "base_identity": identity}
            checkpoints.save(step, state, extra)
            checkpoints.wait()
    return folder


def case(
    seed: int, number: int, whole: pathlib.Path, folder: pathlib.Path, expected: Any
) -> tuple[str, str]:
    """One mutated copy of the run, read; the outcome and what was done or said."""
    draw = random.Random(f"{seed} {number}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    done = [draw.choice(MUTATIONS)(draw, folder) for _ in range(draw.choice((1, 1, 1, 2)))]
    begun = time.monotonic()
    outcome, said = _watched(folder, expected)
    seconds = time.monotonic() - begun
    if outcome in GOOD and seconds > SECONDS:
        outcome = "hang"
    return outcome, f"{', '.join(done)}: {said} ({seconds:.1f} s)"


def _read(folder: pathlib.Path) -> list[Any]:
    """What resuming RL, beginning from it, and its configuration read."""
    rl = str(folder / "checkpoints" / "rl" / "2")
    with Checkpoints(str(folder), "rl") as checkpoints:
        state, extra = checkpoints.restore(2)
    read = [state, extra, load_params(rl), stored_config(rl).to_dict()]
    return [jax.tree.structure(read), *map(np.asarray, jax.tree.leaves(read))]


def _watched(folder: pathlib.Path, expected: Any) -> tuple[str, str]:
    def alarm(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        read = _read(folder)
        same = read[0] == expected[0] and all(map(np.array_equal, read[1:], expected[1:]))
        return ("same" if same else "trained on"), ""
    except UserError as error:
        text = str(error)
        return "not one line" if "\n" in text or len(text) > 2000 else "refused", text[:300]
    except TookTooLong:
        return "hang", ""
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _file(draw: random.Random, folder: pathlib.Path) -> pathlib.Path:
    """Of the checkpoint that is read, or of its base."""
    places = (folder / "checkpoints" / "rl" / "2", folder / "checkpoints" / "sft" / "2")
    files = [file for place in places for file in sorted(place.rglob("*")) if file.is_file()]
    return draw.choice(files or [folder / "nothing"])


def _flip(draw: random.Random, file: pathlib.Path) -> None:
    data = bytearray(file.read_bytes() or b"0")
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def _cut(draw: random.Random, file: pathlib.Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: draw.randrange(len(data) + 1)])


def _zero(draw: random.Random, file: pathlib.Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def _add(draw: random.Random, file: pathlib.Path) -> None:
    file.write_bytes(file.read_bytes() + draw.randbytes(draw.randrange(1, 50)))


def _garbage(draw: random.Random, file: pathlib.Path) -> None:
    texts = ("{}", "[]", "null", "[" * 100_000, '{"a": NaN}', "9" * 5000, "\ud800", '{"config": 3}')
    file.write_bytes(draw.choice(texts).encode(errors="surrogatepass"))


def _number(draw: random.Random, file: pathlib.Path) -> None:
    """One digit of a text is another one: 32.0 becomes 82.0."""
    data = bytearray(file.read_bytes())
    digits = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
    if digits:
        data[draw.choice(digits)] = ord(str(draw.randrange(10)))
    file.write_bytes(data)


def _gone(draw: random.Random, file: pathlib.Path) -> None:
    file.unlink(missing_ok=True)


def _folder(draw: random.Random, file: pathlib.Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


def _pipe(draw: random.Random, file: pathlib.Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def _link(draw: random.Random, file: pathlib.Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to(draw.choice((file.name, "/dev/zero", "/nowhere")))


def _emptied(draw: random.Random, file: pathlib.Path) -> None:
    """A whole folder of it is missing."""
    shutil.rmtree(file.parent, ignore_errors=True)


def _other(draw: random.Random, file: pathlib.Path) -> None:
    """The file of the same place in another checkpoint, or of another place in this one."""
    others = sorted(x for x in file.parents[1].rglob("*") if x.is_file() and x != file)
    shutil.copy(draw.choice(others), file) if others else file.unlink(missing_ok=True)


def _swapped(draw: random.Random, file: pathlib.Path) -> None:
    """The state of an earlier step under the later one's name."""
    rl = next(each for each in file.parents if each.name == "checkpoints") / "rl"
    shutil.rmtree(rl / "2" / "state", ignore_errors=True)
    shutil.copytree(rl / "1" / "state", rl / "2" / "state")


def _on_a_file(mutate: Any) -> Any:
    def mutation(draw: random.Random, folder: pathlib.Path) -> str:
        file = _file(draw, folder)
        if file.parent.is_dir():
            mutate(draw, file)
        return f"{mutate.__name__[1:]} {file.relative_to(folder)}"

    return mutation


MUTATIONS = [
    _on_a_file(mutate)
    for mutate in (
        _flip, _flip, _cut, _zero, _add, _garbage, _number, _gone, _folder, _pipe, _link,
        _emptied, _other, _swapped,
    )
]  # fmt: skip

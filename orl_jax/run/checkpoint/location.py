"""Where a checkpoint is, WORKDIR/checkpoints/STAGE/STEP, and what tells it from another there."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from orl_jax.run.checkpoint import sums
from orl_jax.run.errors import UserError
from orl_jax.run.reading import read_json

FOLDER = "checkpoints"
BASE = "base_identity"  # in a checkpoint's extra: `Location.identity` of the one it began from
METADATA = "_CHECKPOINT_METADATA"  # Orbax's, in the checkpoint's folder
_WRITERS = {
    "vision": "train_vision",
    "sft": "train_sft",
    "reward": "train_reward",
    "oracle": "train_oracle",
    "rl": "train_rl",
    "imported": "import_weights",
}  # stage -> script


class Location(NamedTuple):
    """Where one checkpoint is: WORKDIR/checkpoints/STAGE/STEP."""

    workdir: str
    stage: str
    step: int

    @property
    def path(self) -> Path:
        """Its folder."""
        return Path(self.workdir) / FOLDER / self.stage / str(self.step)

    @property
    def identity(self) -> dict[str, Any]:
        """Step, time and content, as JSON: another checkpoint in its place differs."""
        digest = sums.digest(self.path)
        return {"stage": self.stage, "step": self.step, "stamp": self.stamp, "digest": digest}

    @property
    def stamp(self) -> int:
        """When it was written, in nanoseconds: another one in its place differs. 0 if unknown."""
        try:
            about = read_json(self.path / METADATA)
            return int(about["commit_timestamp_nsecs"])
        except (UserError, OSError, ValueError, KeyError, TypeError):
            return 0


def locate(path: str) -> Location:
    """The checkpoint that a path names: WORKDIR/checkpoints/STAGE/STEP, or STAGE for its newest.

    Raises:
      UserError: there is none, with what was found instead.

    Example: `locate("/runs/demo/checkpoints/rl")` is `Location("/runs/demo", "rl", 60)`.
    """
    folder = Path(path).absolute()
    if not os.path.isdir(folder):
        raise UserError(
            f"there is no checkpoint {path}; name a folder WORKDIR/{FOLDER}/STAGE[/STEP]"
            f"{_hint(folder)}"
        )
    if folder.parent.parent.name == FOLDER and folder.name.isdigit():
        return Location(str(folder.parents[2]), folder.parent.name, int(folder.name))
    if folder.parent.name == FOLDER and (steps := steps_in(folder)):
        return Location(str(folder.parents[1]), folder.name, steps[-1])
    held = ", ".join(sorted(f.name for f in folder.iterdir())[:8]) or "nothing"
    raise UserError(
        f"{path} is not a checkpoint (it holds {held}); name WORKDIR/{FOLDER}/STAGE[/STEP]"
    )


def steps_in(stage: Path) -> list[int]:
    """The steps that are saved in a stage's folder, in their order; none if it does not exist."""
    if not os.path.isdir(stage):
        return []
    return sorted(int(f.name) for f in stage.iterdir() if f.name.isdigit())


def _hint(folder: Path) -> str:
    """The steps that the stage has instead, or the script that writes it, as far as known."""
    if folder.name.isdigit() and os.path.isdir(folder.parent):
        return f"; the steps there are {', '.join(map(str, steps_in(folder.parent))) or 'none'}"
    stage = folder.parent.name if folder.name.isdigit() else folder.name
    return f", or first run scripts/{_WRITERS[stage]}.py" if stage in _WRITERS else ""

"""The stages of one RL step with a config's shapes: the time of each, and its lower bound.

video    decodes one clip from its file to frames, in one thread of the host
encode   frames to visual tokens
prefill  prompts to keys and values
decode   one token for all responses
rollout  prefill, then decode T times, as one program
score    log-probabilities under one policy
update   the whole update; with a reference, at least one score and one backward pass
step     encode, rollout and update, with synthetic ranks from the host; no video, no Oracle
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax

from orl_jax.data.video import ClipFormat, VideoError, read_frames
from orl_jax.performance.benchmark.roofline import Cost, Peak, bound
from orl_jax.performance.benchmark.run_arrays import RunArrays
from orl_jax.performance.benchmark.synthetic_video import write_synthetic_video
from orl_jax.performance.benchmark.timing import Timing, timed
from orl_jax.performance.plan import steps
from orl_jax.rl.batch import RolloutBatch
from orl_jax.run.errors import UserError

NAMES = ("video", "encode", "prefill", "decode", "rollout", "score", "update", "step")
# Stages that donate their first argument -> its next value in their result.
_NEXT: dict[str, Callable[[Any], Any]] = {"decode": lambda out: out, "update": lambda out: out[0]}
_PARTS = ("encode", "rollout", "update")  # the parts of "step"
Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage, measured.

    Attributes:
      timing: seconds.
      count, unit: the amount of work in a call.
      cost: operations and bytes; None on the host.
      accessed: XLA's own count of bytes (`CompiledStep.accessed`).
      compilation: seconds.
      bound: lower bound in seconds (`roofline.bound`).
    """

    name: str
    timing: Timing
    count: int
    unit: str
    cost: Cost | None = None
    accessed: float = 0.0
    compilation: float = 0.0
    bound: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON, including the rate and the share of the roofline."""
        tree = dataclasses.asdict(self) | {"timing": self.timing.to_dict()}
        tree["cost"] = self.cost._asdict() if self.cost else None
        tree["rate"] = self.count / self.timing.median
        return tree | {"share": self.bound / self.timing.median}


def check_names(names: Sequence[str]) -> None:
    """Refuses unknown stages.

    Raises:
      UserError: names the first unknown one, and all known ones.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise UserError(f"there is no stage {unknown[0]!r}; choose some of {', '.join(NAMES)}")


def measure(name: str, held: RunArrays, peak: Peak, repeats: int, clip: str | None = None) -> Stage:
    """Compiles and times a stage.

    Args:
      name: one of `NAMES`.
      held: the arrays.
      peak: of a device.
      clip: a video file; None writes one.

    Example: `measure("encode", held, measure_peak("float32"), 5).timing.median`.
    """
    if name == "video":
        return _video(held, repeats, clip)
    parts = _PARTS if name == "step" else (name,)
    programs = [held.programs[part] for part in parts]
    timing = timed(step_call(held) if name == "step" else call_of(name, held), repeats)
    cost = sum((held.programs.cost(part) for part in parts), Cost(0, 0))
    return Stage(
        name, timing, *_work(name, held), cost,
        sum(program.accessed for program in programs),
        sum(program.seconds for program in programs),
        bound(cost, peak, held.shapes.layout.mesh.size),
    )  # fmt: skip


def call_of(name: str, held: RunArrays) -> Call:
    """A stage as a function without arguments, which reuses its result for what it donates."""
    run = held.programs[name].run
    first, *rest = held.filled(steps.make(name, held).args)
    if name not in _NEXT:
        return lambda: run(first, *rest)
    kept = [held.fresh(held.state.trained) if name == "update" else first]
    del first

    def call() -> None:
        out = run(kept.pop(), *rest)
        kept.append(_NEXT[name](jax.block_until_ready(out)))

    return call


def step_call(held: RunArrays) -> Call:
    """A whole step as a function without arguments, which continues from its last state."""
    encode, rollout, update = (held.programs[part].run for part in _PARTS)
    layout, kept = held.shapes.layout, [held.fresh(held.state.trained)]
    number = layout.replicate(jax.numpy.zeros((), jax.numpy.int32))

    def call() -> None:
        state = kept.pop()
        media = encode(state.trained, held.frozen, held.frames)
        responses = rollout(state, held.frozen, held.banned, media, held.prompt, number)
        ids = layout.local_rows(responses.ids)
        judgement = layout.rows(held.judgement(len(ids)))
        batch = RolloutBatch(media, held.prompt, responses, judgement)
        state, *_ = update(state, held.frozen, held.banned, batch)
        kept.append(jax.block_until_ready(state))

    return call


def _work(name: str, held: RunArrays) -> tuple[int, str]:
    """The amount of work in a call, and its unit."""
    config = held.shapes.config
    prompts, answers = config.rl.batch_size, config.rl.batch_size * config.rl.group_size
    read, said = prompts * config.data.prompt_tokens, answers * config.rl.max_response_tokens
    return {
        "encode": (prompts * config.data.frames, "frames"),
        "prefill": (read, "prompt tokens"),
        "decode": (answers, "answer tokens"),
        "rollout": (said, "answer tokens"),
        "score": (read + said, "tokens"),
        "update": (read + said, "tokens"),
        "step": (said, "answer tokens"),
    }[name]


def _video(held: RunArrays, repeats: int, clip: str | None) -> Stage:
    clip_format = ClipFormat.of(held.shapes.config.data)
    with tempfile.TemporaryDirectory() as folder:
        path = clip or write_synthetic_video(pathlib.Path(folder) / "clip.mp4")

        def read() -> None:
            read_frames(path, clip_format)

        try:
            timing = timed(read, repeats)
        except VideoError as error:
            raise UserError(f"--clip={path} cannot be read: {error}") from error
        return Stage("video", timing, clip_format.frames, "frames")

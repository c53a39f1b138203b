"""What to change where a step does not fit: overrides, each tried by compiling the step again."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from orl_jax.models.sharding.mesh import BATCH
from orl_jax.run.errors import UserError

# Keys of the config that remedies read or change. An adapter may have no `remat`.
KEYS = (
    "rl.batch_size", "rl.micro_batch", "rl.max_response_tokens", "sft.batch_size", "sft.questions",
    "evaluation.batch_size", "data.frames", "model.vision.frames_at_a_time",
    "model.language.quantisation", "model.language.remat", "model.adapter.remat",
    "model.vocabulary_chunk",
)  # fmt: skip
Changes = dict[str, Any]
Current = Mapping[str, Any]  # the values of `KEYS`


class Remedy(NamedTuple):
    """A change, and what the step needs with it.

    Attributes:
      changes: key of the config -> new value.
      total: bytes on one device.
    """

    changes: Changes
    total: int

    @property
    def flags(self) -> str:
        """The change as flags for a shell."""
        return " ".join(f"--config.{key}={value}" for key, value in self.changes.items())


def remedies(
    current: Current, name: str, sizes: Mapping[str, int], total_of: Callable[[Changes], int]
) -> list[Remedy]:
    """Changes that may help a step, those that save the most memory first.

    Args:
      current: the values of `KEYS` in the config.
      name: of the step.
      sizes: number of devices along each axis of the mesh.
      total_of: bytes that the step needs with a change; raises `UserError` for an invalid one.
    """
    found = []
    for changes in candidates(current, name, sizes):
        try:
            found.append(Remedy(changes, total_of(changes)))
        except UserError:  # it breaks another rule, such as that one size divides another
            continue
    return sorted(found, key=lambda remedy: remedy.total)


def candidates(current: Current, name: str, sizes: Mapping[str, int]) -> Iterator[Changes]:
    """Changes to try for a step; some of them may break a rule.

    Example: for "encode" with 5 of 50 frames at a time, `{"model.vision.frames_at_a_time": 2}`.
    """
    rows = math.prod(sizes[axis] for axis in BATCH)
    yield from _OWN[name](current, rows)
    if current["model.language.quantisation"] == "none":
        yield {"model.language.quantisation": "nf4"}
    if sizes["fsdp"] < rows:
        yield {"mesh.data": 1, "mesh.fsdp": rows}


def _sampling(current: Current, rows: int) -> Iterator[Changes]:
    yield from _fewer_prompts(current, rows)
    yield {"rl.max_response_tokens": max(current["rl.max_response_tokens"] // 2, 1)}


def _encoding(current: Current, rows: int) -> Iterator[Changes]:
    yield from _fewer_frames(current)
    yield from _fewer_prompts(current, rows)


def _updating(current: Current, rows: int) -> Iterator[Changes]:
    whole = current["rl.batch_size"]
    if smaller := _smaller(current["rl.micro_batch"] or whole, whole, rows):
        yield {"rl.micro_batch": smaller}
    yield from _rematerialising(current)
    yield from _fewer_logits(current)


def _tuning(current: Current, rows: int) -> Iterator[Changes]:
    yield from _fewer_rows(current, "sft.batch_size", rows)
    if current["sft.questions"] > 1:
        yield {"sft.questions": current["sft.questions"] // 2}
    yield from _rematerialising(current)
    yield from _fewer_logits(current)
    yield from _fewer_frames(current)


def _validating(current: Current, rows: int) -> Iterator[Changes]:
    yield from _fewer_rows(current, "evaluation.batch_size", rows)
    yield from _fewer_frames(current)


def _fewer_rows(current: Current, key: str, rows: int) -> Iterator[Changes]:
    if current[key] >= 2 * rows:
        yield {key: current[key] // 2 // rows * rows}


def _fewer_prompts(current: Current, rows: int) -> Iterator[Changes]:
    fewer, micro_batch = current["rl.batch_size"] // 2, current["rl.micro_batch"]
    if fewer and fewer % rows == 0:
        smaller = math.gcd(micro_batch, fewer) if micro_batch else 0
        more = {} if smaller == micro_batch else {"rl.micro_batch": smaller}
        yield {"rl.batch_size": fewer} | more


def _fewer_frames(current: Current) -> Iterator[Changes]:
    key, frames = "model.vision.frames_at_a_time", current["data.frames"]
    if smaller := _smaller(current[key] or frames, frames):
        yield {key: smaller}


def _rematerialising(current: Current) -> Iterator[Changes]:
    for key in ("model.language.remat", "model.adapter.remat"):
        if key in current and not current[key]:
            yield {key: True}


def _fewer_logits(current: Current) -> Iterator[Changes]:
    chunk = current["model.vocabulary_chunk"]
    yield {"model.vocabulary_chunk": max(chunk // 2, 1) if chunk else 1024}


def _smaller(now: int, whole: int, multiple: int = 1) -> int:
    """The largest divisor of `whole` that is at most half of `now`; 0 where there is none."""
    fitting = (n for n in range(now // 2, 0, -1) if whole % n == 0 and n % multiple == 0)
    return next(fitting, 0)


def _nothing(_: Current, __: int) -> Iterator[Changes]:
    yield from ()


_OWN: dict[str, Callable[[Current, int], Iterator[Changes]]] = {
    "initialise": _nothing,
    "quantise": _nothing,
    "sft": _tuning,
    "encode": _encoding,
    "rollout": _sampling,
    "validate": _validating,
    "update": _updating,
}

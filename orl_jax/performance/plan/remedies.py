"""What to change where a step does not fit: overrides, each tried by compiling that step again."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from orl_jax.models.sharding.mesh import BATCH
from orl_jax.run import config as rules
from orl_jax.run.errors import UserError

Changes = dict[str, Any]


class Remedy(NamedTuple):
    """A change and what the step needs with it.

    Attributes:
      changes: values by their keys.
      total: bytes of one device.
    """

    changes: Changes
    total: int

    @property
    def flags(self) -> str:
        """As one writes it in a shell."""
        return " ".join(f"--config.{key}={value}" for key, value in self.changes.items())


def remedies(
    config: ConfigDict, name: str, sizes: Mapping[str, int], total_of: Callable[[ConfigDict], int]
) -> list[Remedy]:
    """Changes that may help a step, the one that leaves it the least first.

    Args:
      name: of the step.
      sizes: devices along the mesh's axes.
      total_of: what the step needs under a config, bytes; raises `UserError` of one that won't do.
    """
    found = []
    for changes in candidates(config, name, sizes):
        changed = config.copy_and_resolve_references().unlock()
        changed.update_from_flattened_dict(changes)
        try:
            rules.validate(changed)
            found.append(Remedy(changes, total_of(changed)))
        except UserError:  # it breaks another rule, such as that one size divides another
            continue
    return sorted(found, key=lambda remedy: remedy.total)


def candidates(config: ConfigDict, name: str, sizes: Mapping[str, int]) -> Iterator[Changes]:
    """What may be changed for a step; some may break a rule.

    Example: of "encode" one is `{"model.vision.frames_at_a_time": 2}` where that is 5 of 50.
    """
    rows = math.prod(sizes[axis] for axis in BATCH)
    yield from _OWN[name](config, rows)
    if config.model.language.quantisation == "none":
        yield {"model.language.quantisation": "nf4"}
    if sizes["fsdp"] < rows:
        yield {"mesh.data": 1, "mesh.fsdp": rows}


def _sampling(config: ConfigDict, rows: int) -> Iterator[Changes]:
    yield from _fewer_prompts(config, rows)
    yield {"rl.max_response_tokens": max(config.rl.max_response_tokens // 2, 1)}


def _encoding(config: ConfigDict, rows: int) -> Iterator[Changes]:
    yield from _fewer_frames(config)
    yield from _fewer_prompts(config, rows)


def _updating(config: ConfigDict, rows: int) -> Iterator[Changes]:
    now = config.rl.micro_batch or config.rl.batch_size
    if smaller := _smaller(now, config.rl.batch_size, rows):
        yield {"rl.micro_batch": smaller}
    yield from _recomputing(config)
    yield from _fewer_logits(config)


def _tuning(config: ConfigDict, rows: int) -> Iterator[Changes]:
    if config.sft.batch_size >= 2 * rows:
        yield {"sft.batch_size": config.sft.batch_size // 2 // rows * rows}
    if config.sft.questions > 1:
        yield {"sft.questions": config.sft.questions // 2}
    yield from _recomputing(config)
    yield from _fewer_logits(config)
    yield from _fewer_frames(config)


def _validating(config: ConfigDict, rows: int) -> Iterator[Changes]:
    if config.evaluation.batch_size >= 2 * rows:
        yield {"evaluation.batch_size": config.evaluation.batch_size // 2 // rows * rows}
    yield from _fewer_frames(config)


def _fewer_prompts(config: ConfigDict, rows: int) -> Iterator[Changes]:
    fewer = config.rl.batch_size // 2
    if fewer and fewer % rows == 0:
        micro = math.gcd(config.rl.micro_batch, fewer) if config.rl.micro_batch else 0
        more = {} if micro == config.rl.micro_batch else {"rl.micro_batch": micro}
        yield {"rl.batch_size": fewer} | more


def _fewer_frames(config: ConfigDict) -> Iterator[Changes]:
    frames = config.data.frames
    if smaller := _smaller(config.model.vision.frames_at_a_time or frames, frames):
        yield {"model.vision.frames_at_a_time": smaller}


def _recomputing(config: ConfigDict) -> Iterator[Changes]:
    for part in ("language", "adapter"):
        if config.model[part].get("remat") is False:
            yield {f"model.{part}.remat": True}


def _fewer_logits(config: ConfigDict) -> Iterator[Changes]:
    chunk = config.model.vocabulary_chunk
    yield {"model.vocabulary_chunk": max(chunk // 2, 1) if chunk else 1024}


def _smaller(now: int, whole: int, multiple: int = 1) -> int:
    """The largest divisor of `whole` that is at most half of `now`; 0 where there is none."""
    fitting = (n for n in range(now // 2, 0, -1) if whole % n == 0 and n % multiple == 0)
    return next(fitting, 0)


def _nothing(_: ConfigDict, __: int) -> Iterator[Changes]:
    yield from ()


_OWN: dict[str, Callable[[ConfigDict, int], Iterator[Changes]]] = {
    "initialise": _nothing,
    "quantise": _nothing,
    "sft": _tuning,
    "encode": _encoding,
    "rollout": _sampling,
    "validate": _validating,
    "update": _updating,
}

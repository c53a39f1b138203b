"""Runs a benchmark: its parts, one JSON, one table, one picture."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.performance.benchmark import (
    curves,
    peer,
    peer_process,
    picture,
    prefix,
    stages,
    table,
    vocabulary,
)
from orl_jax.performance.benchmark.compiled_steps import CompiledSteps
from orl_jax.performance.benchmark.machine import machine
from orl_jax.performance.benchmark.peer_model import Sizes
from orl_jax.performance.benchmark.roofline import measure_peak
from orl_jax.performance.benchmark.run_arrays import RunArrays
from orl_jax.performance.benchmark.text_model import TextModel
from orl_jax.performance.plan.shapes import Shapes, tokens_of
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.policy_loss import PolicyLossSettings
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_atomic, write_json
from orl_jax.run.reading import read_json

PARTS = ("stages", "prefix", "vocabulary", "curves", "peer")
_CHUNK = 512  # positions, where the config does not chunk


@dataclasses.dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
      source: file name of the config, for the table.
      parts: some of `PARTS`; if empty, "stages" unless curves or a peer are named.
      stages: some of `stages.NAMES`; empty is all.
      curves: some of `curves.AXES`.
      peer: one of `peer_process.PEERS`, or "".
      peer_python: the Python of an environment with the peer; "" is this one.
      sizes: of the peer's model and step.
      repeats: number of timings of each kind.
      vocabulary: number of tokens where the config's tokenizer is not available.
      clip: a video file to decode; "" writes one.
    """

    source: str
    parts: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    peer: str = ""
    peer_python: str = ""
    sizes: Sizes = Sizes()
    repeats: int = 5
    vocabulary: int = 32002
    clip: str = ""

    def chosen(self) -> list[str]:
        """The parts to measure.

        Raises:
          UserError: an unknown part, stage, curve or peer.
        """
        if unknown := [name for name in self.parts if name not in PARTS[:3]]:
            raise UserError(
                f"--only={unknown[0]}; choose some of {', '.join(PARTS[:3])} (curves and peers "
                "are chosen with --curves and --peer)"
            )
        if self.peer:
            peer_process.check_name(self.peer, self.peer_python)
        for name, given in (("sizes", self.sizes != Sizes()), ("peer_python", self.peer_python)):
            if given and not self.peer:
                raise UserError(f"--{name} is for the comparison with a peer; add --peer")
        stages.check_names(self.stages)
        curves.check_axes(self.curves)
        named = {"curves": self.curves, "peer": self.peer, "stages": self.stages}
        chosen = {*self.parts, *(name for name, value in named.items() if value)}
        return [name for name in PARTS if name in (chosen or {"stages"})]


def run(config: ConfigDict, workdir: str, request: Request) -> dict[str, Any]:
    """Measures, and writes benchmark.json, benchmark.md and benchmark.png.

    Parts that an earlier run left in `workdir` are kept, each with its own machine and date.

    Raises:
      UserError: see `Request.chosen`; a mesh or batch sizes that don't fit the devices.

    Example: `run(config, "runs/benchmark", Request("configs/demo.py"))["stages"]["rows"]`.
    """
    chosen, folder = request.chosen(), pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)  # before minutes of measuring
    file = folder / "benchmark.json"
    found, measured = _earlier(file), {}
    for name in chosen:
        part = {"machine": machine(), **_MEASURES[name](config, request)}
        measured[f"peer {request.peer}" if name == "peer" else name] = part
        found = {**_earlier(file), **measured}  # another process may have written meanwhile
        write_json(file, found)
    write_atomic(folder / "benchmark.md", table.to_markdown(found))
    picture.draw(found, folder / "benchmark.png")
    print(table.to_markdown(measured))
    return found


def _earlier(file: pathlib.Path) -> dict[str, Any]:
    """Parts measured by earlier runs."""
    try:
        found = read_json(file, "delete it, or choose another --workdir") if file.exists() else {}
        if not all(isinstance(part["machine"], dict) for part in found.values()):
            raise ValueError("a part without its machine")
        table.to_markdown(found)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise UserError(
            f"{file} is not a benchmark ({type(error).__name__}: {error}); delete it, or choose "
            "another --workdir"
        ) from error
    return found


def _bar(label: str) -> Callable[[Sequence[Any]], Iterator[Any]]:
    """A progress bar that shows the current item."""

    def wrap(items: Sequence[Any]) -> Iterator[Any]:
        with tqdm(items, unit=label, dynamic_ncols=True) as bar:
            for item in bar:
                bar.set_description(item if isinstance(item, str) else " ".join(map(str, item)))
                yield item

    return wrap


def _shapes(config: ConfigDict, request: Request) -> Shapes:
    return Shapes(config, tokens_of(config, request.vocabulary), jax.devices())


def _stages(config: ConfigDict, request: Request) -> dict[str, Any]:
    dtype = config.model.language.dtype
    shapes, peak = _shapes(config, request), measure_peak(dtype, request.repeats)
    held = RunArrays(shapes, CompiledSteps(shapes))
    rows = [
        stages.measure(name, held, peak, request.repeats, request.clip or None).to_dict()
        for name in _bar("stage")(request.stages or stages.NAMES)
    ]
    sizes = {
        "prompts": config.rl.batch_size, "group": config.rl.group_size,
        "prompt": config.data.prompt_tokens, "response": config.rl.max_response_tokens,
        "frames": config.data.frames,
    }  # fmt: skip
    peak = peak._asdict()
    return {"config": request.source, "sizes": sizes, "dtype": dtype, "peak": peak, "rows": rows}


def _prefix(config: ConfigDict, request: Request) -> dict[str, Any]:
    model = TextModel(VlmSettings.from_config(config), request.vocabulary)
    settings = prefix.UpdateSettings(
        Estimator.of(config.rl),
        PolicyLossSettings.of(config.rl),
        config.rl.temperature,
        config.model.vocabulary_chunk,
        config.rl.updates_per_rollout,
    )
    found = prefix.measure(model, settings, request.repeats, _bar("row"))
    return {"language": config.model.language.to_dict(), **found}


def _vocabulary(config: ConfigDict, _: Request) -> dict[str, Any]:
    chunk = config.model.vocabulary_chunk or _CHUNK
    return {"rows": vocabulary.measure(config.model.language.width, chunk, _bar("row"))}


def _curves(config: ConfigDict, request: Request) -> dict[str, Any]:
    def shapes_of(sizes: dict[str, int]) -> Shapes:
        return _shapes(sized(config, sizes), request)

    found = curves.measure(shapes_of, request.curves, request.repeats, _bar("point"))
    return {"axes": found}


def sized(config: ConfigDict, sizes: dict[str, int]) -> ConfigDict:
    """The config with other sizes; every prompt has room for a video and some text."""
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict(sizes)
    least = VlmSettings.from_config(changed).visual_tokens + 8
    changed.data.prompt_tokens = max(changed.data.prompt_tokens, least)
    return changed.lock()


def _peer(config: ConfigDict, request: Request) -> dict[str, Any]:
    with tqdm(total=request.repeats, desc="making the model, compiling", unit="step") as bar:

        def progress() -> None:
            bar.set_description("steps of both", refresh=False)
            bar.update()

        return peer.compare(
            request.peer, config, request.sizes, request.repeats, progress,
            python=request.peer_python,
        )  # fmt: skip


_MEASURES: dict[str, Callable[[ConfigDict, Request], dict[str, Any]]] = {
    "stages": _stages,
    "prefix": _prefix,
    "vocabulary": _vocabulary,
    "curves": _curves,
    "peer": _peer,
}

"""The benchmark as Markdown tables."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from orl_jax.report.tables import markdown

_MB = 10**6
PEER_NAMES = {"trl": "TRL", "tunix": "Tunix"}


def to_markdown(found: dict[str, Any]) -> str:
    """A section for each part that was measured.

    Args:
      found: as `benchmark.run` returns it.
    """
    parts = ["# Benchmark"]
    for name, part in in_order(found, _SECTIONS):
        parts += ["\n".join(_SECTIONS[name](part)), _where(part["machine"])]
    return "\n\n".join(parts) + "\n"


def in_order(found: dict[str, Any], names: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The measured parts that are named, in this order; of "peer" there is one for each peer.

    Example: `list(in_order({"peer trl": part}, ["peer"]))` is [("peer", part)].
    """
    for name in names:
        for key, part in found.items():
            if key.partition(" ")[0] == name:
                yield name, part


def _where(machine: dict[str, str]) -> str:
    cores, jax = machine["processor cores"], machine["jax"]
    return (
        f"{machine['devices']}; {machine['processor']}, {cores} cores, load {machine['load']} "
        f"before; jax {jax}; commit {machine['commit'] or 'unknown'}; {machine['date']}."
    )


def _seconds(timing: dict[str, Any]) -> str:
    """The median with its range, in a unit that suits it."""
    scale, unit = (1, "s") if timing["median"] >= 1 else (1000, "ms")
    low, middle, high = (_number(scale * timing[key], 3) for key in ("low", "median", "high"))
    return f"{middle} {unit} ({low}–{high})"


def _number(value: float, digits: int) -> str:
    """This many significant digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 10**digits else f"{value:,.{digits}g}"


def _ratio(timing: dict[str, Any]) -> str:
    return "{median:.2f} ({low:.2f}–{high:.2f})".format(**timing)


def _stages(part: dict[str, Any]) -> Iterator[str]:
    peak = part["peak"]
    yield f"## Stages of {part['config']}"
    yield ""
    if sizes := part.get("sizes"):
        yield f"{_step(sizes)}, {sizes['frames']} frames."
        yield ""
    yield (
        f"Measured peak: {peak['flops'] / 1e9:,.0f} GFLOP/s in {part['dtype']}, "
        f"{peak['bandwidth'] / 1e9:,.1f} GB/s."
    )
    yield ""
    head = ("stage", "median (range)", "rate", "GFLOP", "least MB", "XLA MB", "of roofline",
            "compiled in")  # fmt: skip
    yield from markdown(head, [_stage(row) for row in part["rows"]])


def _step(sizes: dict[str, int]) -> str:
    return (
        f"{sizes['prompts']} prompts x {sizes['group']} answers, {sizes['prompt']} + "
        f"{sizes['response']} tokens"
    )


def _stage(row: dict[str, Any]) -> list[str]:
    cells = [row["name"], _seconds(row["timing"]), f"{_number(row['rate'], 4)} {row['unit']}/s"]
    if row["cost"] is None:
        return [*cells, "", "", "", "", ""]
    flops, moved = row["cost"]["flops"] / 1e9, row["cost"]["bytes"] / _MB
    return [
        *cells, *(_number(value, 4) for value in (flops, moved, row["accessed"] / _MB)),
        f"{row['share']:.0%}", f"{row['compilation']:.1f} s",
    ]  # fmt: skip


def _prefix(part: dict[str, Any]) -> Iterator[str]:
    yield "## A prompt shared by its group"
    yield ""
    head = ("", "shared", "repeated", "ratio", "memory shared", "memory repeated")
    rows = [
        [f"prefill, P = {row['prompt']}, G = {row['group']}", *_pair(row),
         *(_amount(row["cache_bytes"][name]["prompts"]) for name in ("shared", "repeated"))]
        for row in part["prefill"]
    ]  # fmt: skip
    row = part["update"]
    name = f"update, P = {row['prompt']}, R = {row['response']}, G = {row['group']}"
    memory = (_amount(row["temporary_bytes"][name]) for name in ("shared", "repeated"))
    yield from markdown(head, [*rows, [name, *_pair(row), *memory]])
    yield ""
    yield (
        "Memory: of the prompts' keys and values; of the update's temporaries. Gradients of the "
        f"two updates differ by {row['largest_difference']:.1e} at most, the largest being "
        f"{row['largest_gradient']:.1e}."
    )


def _pair(row: dict[str, Any]) -> list[str]:
    return [_seconds(row["shared"]), _seconds(row["repeated"]), _ratio(row["ratio"])]


def _amount(size: int) -> str:
    return f"{size / _MB:,.1f} MB"


def _vocabulary(part: dict[str, Any]) -> Iterator[str]:
    yield "## Memory of log-probabilities and their loss"
    yield ""
    head = ("vocabulary", "positions", "chunk", "temporaries", "in chunks of logits")
    rows = [
        [f"{row['vocabulary']:,}", f"{row['positions']:,}", str(row["chunk"] or "all"),
         _amount(row["temporary_bytes"]), f"{row['chunks']:.2f}"]
        for row in part["rows"]
    ]  # fmt: skip
    yield from markdown(head, rows)


def _curves(part: dict[str, Any]) -> Iterator[str]:
    yield "## A whole step against its sizes"
    yield ""
    yield from markdown(("axis", "exponent", "between the last two", "seconds"), [
        [name, f"{curve['exponent']:.2f}", f"{curve['end_exponent']:.2f}",
         ", ".join(f"{p['value']}: {p['median']:.3g}" for p in curve["points"])]
        for name, curve in part["axes"].items()
    ])  # fmt: skip


def _peer(part: dict[str, Any]) -> Iterator[str]:
    sizes, rates = part["sizes"], part["tokens_per_second"]
    yield f"## One GRPO step next to {PEER_NAMES[part['peer']]}"
    yield ""
    yield (
        f"{sizes['parameters'] / 1e6:.1f} M parameters, {_step(sizes)}, LoRA {sizes['rank']}; "
        f"log-probabilities differ by {part['largest_gap']:.1e} at most."
    )
    yield ""
    rows = [
        [label, _seconds(part[side]), f"{rates[side]:,.0f}",
         ", ".join(f"{name} {value:.3g}" for name, value in part[side]["parts"].items())]
        for label, side in (("orl_jax", "ours"), (PEER_NAMES[part["peer"]], "theirs"))
    ]  # fmt: skip
    yield from markdown(("", "median (range)", "tokens/s", "seconds of its parts"), rows)
    yield ""
    yield (
        f"Ratio {_ratio(part['ratio'])}. Of our update the reference takes "
        f"{part['reference_in_update']['median']:.3g} s. Our compilation, once: "
        f"{part['compilation']:.1f} s."
    )
    if versions := part.get("versions"):
        yield f"The other side: {', '.join(f'{name} {v}' for name, v in versions.items())}."


_SECTIONS: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "stages": _stages,
    "prefix": _prefix,
    "vocabulary": _vocabulary,
    "curves": _curves,
    "peer": _peer,
}

"""A plan as text: one row per step, the largest arrays, the verdict."""

from collections.abc import Iterator, Sequence

from orl_jax.performance.plan.measurement import Measured
from orl_jax.performance.plan.plan import Plan
from orl_jax.report.tables import plain

UNITS = {"GB": 10**9, "MB": 10**6}
COLUMNS = ("step", "arguments", "beside", "temporary", "outputs", "total", "of memory", "TFLOP")
PREALLOCATED = 0.75  # JAX's share of a GPU's memory, unless XLA_PYTHON_CLIENT_MEM_FRACTION says


def render(plan: Plan, top: int) -> str:
    """The whole of it, lines of at most 120 characters.

    Args:
      top: arrays to show of each whole step.
    """
    parts = [_head(plan), "\n".join(plain(list(_rows(plan))))]
    if any(step.widened for step in plan.steps):
        parts.append(_about_cpus(plan))
    if top:
        parts.append("\n".join(_arrays(plan, top)))
    return "\n\n".join([*parts, "\n".join(verdict(plan))])


def _unit(plan: Plan) -> str:
    return "GB" if plan.peak.total >= UNITS["GB"] // 10 else "MB"


def _amount(plan: Plan, size: int) -> str:
    return f"{size / UNITS[_unit(plan)]:.2f}"


def _head(plan: Plan) -> str:
    mesh = ", ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    return (
        f"{plan.devices} x {plan.memory / UNITS['GB']:g} GB ({mesh}), compiled for {plan.target}. "
        f"{_unit(plan)} and TFLOP of one device:"
    )


def _rows(plan: Plan) -> Iterator[Sequence[str]]:
    yield COLUMNS
    for step in plan.steps:
        sizes = (step.arguments, step.beside, step.temporaries, step.outputs, step.total)
        share = f"{step.total / plan.memory:.0%}"
        work = _work(plan, step)
        yield [_name(step), *(_amount(plan, size) for size in sizes), share, work]


def _name(step: Measured) -> str:
    calls = f" x {step.calls}" if step.calls > 1 else ""
    return f"  {step.name}{calls}" if step.part_of else step.name


def _work(plan: Plan, step: Measured) -> str:
    """TFLOP of a device. Where a loop hides its length, that of the parts; ">" without parts."""
    parts = [part for part in plan.steps if part.part_of == step.name]
    count, sign = step.calls * step.flops, ""
    if step.open_loops and parts:
        count = sum(part.calls * part.flops for part in parts)
    elif step.open_loops:
        sign = ">"
    return f"{sign}{count / plan.devices / 1e12:,.2f}"


def _about_cpus(plan: Plan) -> str:
    whole = (step for step in plan.steps if not step.part_of)
    worst = max(whole, key=lambda step: step.total + step.widened)
    return (
        "Left out are the float32 copies of bfloat16 arrays that only CPUs make; with them "
        f"{worst.name} takes {_amount(plan, worst.total + worst.widened)} {_unit(plan)}.\n"
        "Where JAX's CUDA plugin is installed, --target=h100 compiles for the GPU itself, and "
        "needs none."
    )


def _arrays(plan: Plan, top: int) -> Iterator[str]:
    yield "The largest arrays at the peak of each, arguments aside:"
    for step in (step for step in plan.steps if not step.part_of):
        yield step.name
        for held in step.held[:top]:
            times = f"{held.count} x " if held.count > 1 else ""
            size = f"{_amount(plan, held.bytes):>8} {_unit(plan)}"
            yield f"  {size}  {times + held.type:36} {held.source[-69:]}"


def verdict(plan: Plan) -> Iterator[str]:
    """Whether it fits, in which step it needs most, what to change otherwise."""
    peak, memory = plan.peak, plan.memory / UNITS["GB"]
    yield (
        f"{'Fits' if plan.fits else 'Does not fit'}: {peak.name} needs most, "
        f"{_amount(plan, peak.total)} {_unit(plan)} of {memory:g} GB."
    )
    share = peak.total / plan.memory
    if PREALLOCATED < share <= 1:
        yield (
            f"JAX takes {PREALLOCATED:.0%} of a GPU's memory; set XLA_PYTHON_CLIENT_MEM_FRACTION "
            f"to {min(share + 0.02, 1):.2f} or more."
        )
    if plan.fits:
        return
    yield "With a change, what it then needs:" if plan.remedies else "No single change helps."
    for remedy in plan.remedies:
        does = "fits" if remedy.total <= plan.memory else "still too much"
        yield f"  {_amount(plan, remedy.total):>8} {_unit(plan)}  {remedy.flags}  ({does})"

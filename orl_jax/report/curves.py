"""Learning curves: which metrics of which stage become which panel."""

import dataclasses
from collections.abc import Sequence

import markupsafe

from orl_jax.report.figures import Curve, lines
from orl_jax.report.record import Json, Record, series


@dataclasses.dataclass(frozen=True)
class Panel:
    """A panel to be drawn.

    Attributes:
      title: its heading.
      stage: "vision", "sft" or "rl", as in metrics.jsonl.
      keys: (metric, label, colour) of each curve.
      y_label: what the y axis shows, with its unit.
      limits: of the y axis, or None.
      note: how to read it, one sentence.
    """

    title: str
    stage: str
    keys: tuple[tuple[str, str, str], ...]
    y_label: str
    limits: tuple[float, float] | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A panel that was drawn; `svg` is None where the run logged none of its metrics."""

    title: str
    svg: markupsafe.Markup | None
    note: str = ""


_UNIT = (0.0, 1.0)
_ACCURACY = (
    ("validation/accuracy", "greedy", "rl"),
    ("validation/sampled_accuracy", "sampled", "accent"),
    ("validation/fact_score", "fact score", "good"),
)
_SFT_ACCURACY = tuple((key, label, colour.replace("rl", "sft")) for key, label, colour in _ACCURACY)

RL_PANELS = (
    Panel("Validation accuracy", "rl", _ACCURACY, "exact match, share of items", _UNIT,
          "Sampled accuracy that lags behind greedy is the first sign of a policy spreading out."),
    Panel("Rank agreement", "rl", (("rank/kendall_tau", "tau", "rl"),), "mean Kendall tau",
          None, "The policy's own order of its answers against the Oracle's; 1 is the same order."),
    Panel("KL to the reference", "rl", (("kl", "KL", "rl"),), "nats per token", None,
          "Grows without bound when the policy drifts."),
    Panel("Entropy", "rl", (("entropy", "entropy", "rl"),), "nats per token", None,
          "Falls as the policy makes up its mind; near zero it has collapsed."),
    Panel("Response length", "rl", (("response/length_mean", "length", "rl"),), "tokens, mean"),
    Panel("Groups without a signal", "rl", (("group/no_signal_fraction", "no signal", "rl"),),
          "share of groups", _UNIT, "The Oracle ties all answers: nothing is learnt from them."),
    Panel("Gradient norm", "rl", (("grad_norm", "norm", "rl"),), "L2 norm before clipping"),
    Panel("Loss", "rl", (("loss", "loss", "rl"),), "policy + KL + entropy terms", None,
          "Not a measure of quality: its value at an on-policy step is near zero by design."),
)  # fmt: skip
SFT_PANELS = (
    Panel("Vision warm-up: loss", "vision", (("loss", "loss", "sft"),), "loss"),
    Panel("SFT: loss", "sft", (("loss", "loss", "sft"),), "cross-entropy, nats per answer token"),
    Panel("SFT: token accuracy", "sft", (("accuracy/token", "accuracy", "sft"),),
          "share of answer tokens", _UNIT, "Against the taught answers, the wrong ones included."),
    Panel("SFT: validation accuracy", "sft", _SFT_ACCURACY, "exact match, share of items", _UNIT,
          "Against the clean references."),
)  # fmt: skip
CONTROL_PANELS = (
    Panel("Control: loss of more SFT", "sft", (("loss", "loss", "control"),),
          "cross-entropy, nats per answer token"),
    Panel("Control: validation accuracy", "sft",
          (("validation/accuracy", "greedy", "control"),), "exact match, share of items", _UNIT),
)  # fmt: skip
_CATEGORY = "validation/category/"


def learning_curves(record: Record) -> dict[str, list[Figure]]:
    """All panels: "rl", "categories" (validation accuracy by task type), "sft" and "control"."""
    return {
        "rl": [_draw(panel, record.metrics) for panel in RL_PANELS],
        "categories": [_draw(panel, record.metrics) for panel in _category_panels(record.metrics)],
        "sft": [_draw(panel, record.metrics) for panel in SFT_PANELS],
        "control": [_draw(panel, record.control) for panel in CONTROL_PANELS if record.control],
    }


def _category_panels(rows: Sequence[Json]) -> list[Panel]:
    rl = (row for row in rows if row.get("stage") == "rl")
    names = sorted({key for row in rl for key in row if key.startswith(_CATEGORY)})
    return [
        Panel(name.removeprefix(_CATEGORY), "rl", ((name, "greedy", "rl"),), "exact match", _UNIT)
        for name in names
    ]


def _draw(panel: Panel, rows: Sequence[Json]) -> Figure:
    curves = []
    for key, label, colour in panel.keys:
        steps, values = series(rows, panel.stage, key)
        if any(value == value for value in values):  # at least one that is not NaN
            curves.append(Curve(label, steps, values, colour))
    if not curves:
        return Figure(panel.title, None)
    svg = lines(
        curves,
        x_label=f"{_stage_name(panel.stage)} step",
        y_label=panel.y_label,
        limits=panel.limits,
        name=f"{panel.title}: {panel.y_label} over steps",
    )
    return Figure(panel.title, svg, _with_gaps(panel.note, curves))


def _stage_name(stage: str) -> str:
    return {"rl": "RL", "sft": "SFT", "vision": "warm-up"}.get(stage, stage)


def _with_gaps(note: str, curves: Sequence[Curve]) -> str:
    gaps = sum(value != value for curve in curves for value in curve.values)
    return f"{note} Gaps: {gaps} values were not finite.".strip() if gaps else note

"""Every form of advantage in a tabular bandit: tables, `bandit.json` and `bandit.png`.

    python scripts/bandit.py --workdir=runs/bandit

Takes about a minute on one core. For what it shows see docs/results/printed_form.md.
"""

import pathlib
import sys
from collections.abc import Iterator

import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from orl_jax.experiments.bandit import (
    FORMS,
    NOISES,
    RATE,
    READINGS,
    History,
    train,
)
from orl_jax.report.environment import environment
from orl_jax.report.statistics import interval
from orl_jax.report.tables import markdown
from orl_jax.run import shortage
from orl_jax.run.disk import naming
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json
from orl_jax.run.stop import exit_on_sigterm

FLAGS = flags.FLAGS
flags.DEFINE_integer("seeds", 8, "How many seeds: 0, 1, ...; a seed is a start and its draws.")
flags.DEFINE_integer("steps", 200, "Steps of each run.")
flags.DEFINE_float("rate", RATE, "Learning rate, the same for all forms.")
flags.DEFINE_string("workdir", None, "Folder that bandit.json and bandit.png are written to.")
flags.DEFINE_bool("help", False, "Show this help.")

SETTINGS = {"distinct": "all qualities distinct", "two_levels": "right or wrong"}
MEASURES = ("quality", "best", "entropy")
OWN_ORDER = "no Oracle: the policy's own order"
# Reds go against the Oracle, blues darken with its share, other hues are other methods.
STYLES = {
    "printed": {"color": "#c62828", "linewidth": 2.4},
    "signed, mix 0": {"color": "#08306b", "linewidth": 2.0},
    "signed, mix 0.25": {"color": "#2171b5", "linewidth": 1.8},
    "signed, mix 0.5": {"color": "#6baed6", "linewidth": 1.8},
    "signed, mix 1": {"color": "#a9c9e4", "linewidth": 1.8},
    "linear in rank": {"color": "#2e7d32", "linewidth": 1.6, "linestyle": (0, (4, 2))},
    "z-score": {"color": "#ef8c00", "linewidth": 1.6, "linestyle": (0, (2, 1.5))},
    OWN_ORDER: {"color": "#555555", "linewidth": 1.4, "linestyle": (0, (1, 1.5))},
}
Results = dict[str, dict[str, dict[str, History]]]  # setting, noise, form


def main() -> None:
    """Runs everything, prints the tables and writes the two files.

    Raises:
      UserError: a flag out of range.
    """
    folder = pathlib.Path(_checked_workdir())
    folder.mkdir(parents=True, exist_ok=True)
    results = _run_all()
    for setting in SETTINGS:
        print(*_table(setting, results[setting]), sep="\n", end="\n\n")
    write_json(folder / "bandit.json", _record(results))
    with naming(folder / "bandit.png"):
        _picture(results).savefig(folder / "bandit.png", dpi=160)
    print(f"results are in {folder / 'bandit.json'}, curves in {folder / 'bandit.png'}")


def _checked_workdir() -> str:
    for name in ("seeds", "steps"):
        if FLAGS[name].value < 1:
            raise UserError(f"--{name}={FLAGS[name].value}; it must be at least 1")
    if not 0 < FLAGS.rate < float("inf"):
        raise UserError(f"--rate={FLAGS.rate}; it must be positive and finite")
    if not FLAGS.workdir:
        raise UserError("--workdir is missing; for example --workdir=runs/bandit")
    if pathlib.Path(FLAGS.workdir).is_file():
        raise UserError(f"--workdir={FLAGS.workdir} is a file; name a folder")
    return FLAGS.workdir


def _run_all() -> Results:
    """Forms outermost, as each compiles once."""
    results: Results = {setting: {str(noise): {} for noise in NOISES} for setting in SETTINGS}
    runs = [(f, s, n) for f in FORMS | READINGS for s in SETTINGS for n in NOISES]
    for form, setting, noise in tqdm(runs, desc="bandit", unit="run"):
        history = train(
            range(FLAGS.seeds),
            noise,
            form=form,
            two_levels=setting == "two_levels",
            steps=FLAGS.steps,
            rate=FLAGS.rate,
        )
        results[setting][str(noise)][form] = History(*map(np.asarray, history))
    return results


def _table(setting: str, by_noise: dict[str, dict[str, History]]) -> Iterator[str]:
    # Right or wrong: P(best) is the expected quality.
    shown = MEASURES if setting == "distinct" else ("quality", "entropy")
    names = {"quality": "expected quality", "best": "P(best)", "entropy": "entropy"}
    yield (
        f"{SETTINGS[setting].capitalize()}: {', '.join(names[key] for key in shown)} after "
        f"{FLAGS.steps} steps; mean of {FLAGS.seeds} seeds, [95 % bootstrap interval]."
    )
    yield ""
    start = [_cell(forms["printed"], shown, step=0) for forms in by_noise.values()]
    rows = [["*start*", *start]]
    for form in FORMS | READINGS:
        rows.append([form, *(_cell(forms[form], shown, step=-1) for forms in by_noise.values())])
    yield from markdown(["form", *(f"noise {float(noise):g}" for noise in by_noise)], rows)


def _cell(history: History, shown: tuple[str, ...], step: int) -> str:
    found = interval(history.quality[:, step].tolist())
    first = f"{found['mean']:.3f}"
    if found["low"] is not None:  # else one seed
        first += f" [{found['low']:.3f}, {found['high']:.3f}]"
    rest = {"best": "{:.3f}", "entropy": "{:.2f}"}
    others = [rest[key].format(getattr(history, key)[:, step].mean()) for key in shown[1:]]
    return ", ".join([first, *others])


def _record(results: Results) -> dict:
    runs = [
        {
            "setting": setting,
            "noise": float(noise),
            "form": form,
            **{key: _summary(getattr(history, key)) for key in MEASURES},
        }
        for setting, by_noise in results.items()
        for noise, forms in by_noise.items()
        for form, history in forms.items()
    ]
    flag_values = {name: FLAGS[name].value for name in ("seeds", "steps", "rate")}
    return {**flag_values, "environment": environment(), "runs": runs}


def _summary(values: np.ndarray) -> dict:
    """Of [S, steps + 1] values: before and after, with its interval, and the mean curve."""
    after = interval(values[:, -1].tolist())
    curve = [round(float(value), 5) for value in values.mean(axis=0)]
    limits = {key: after[key] for key in ("low", "high")}
    return {"before": curve[0], "after": curve[-1], **limits, "curve": curve}


def _picture(results: Results) -> Figure:
    figure = Figure(figsize=(11, 7.2), facecolor="white")
    panels = figure.subplots(len(SETTINGS), len(NOISES), sharex=True, sharey="row")
    for row, (setting, by_noise) in zip(panels, results.items(), strict=True):
        for axes, (noise, forms) in zip(row, by_noise.items(), strict=True):
            _draw(axes, forms)
            axes.set_title(
                f"{SETTINGS[setting]}, Oracle noise {float(noise):g}", loc="left", fontsize=10
            )
        row[0].set_ylabel("expected quality")
    for axes in panels[-1]:
        axes.set_xlabel("step")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=10)
    figure.suptitle("What each form of advantage teaches a softmax policy", x=0.06, ha="left")
    figure.subplots_adjust(0.06, 0.16, 0.98, 0.9, wspace=0.12, hspace=0.25)
    return figure


def _draw(axes: Axes, forms: dict[str, History]) -> None:
    start = forms["printed"].quality[:, 0].mean()
    axes.axhline(start, color="#999999", linewidth=0.8)
    axes.annotate("start", (1, start), xycoords=("axes fraction", "data"), xytext=(-3, 3),
                  textcoords="offset points", ha="right", color="#777777", fontsize=8)  # fmt: skip
    for form, style in STYLES.items():
        axes.plot(forms[form].quality.mean(axis=0), label=form, **style)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)


def _parse() -> None:
    try:
        rest = FLAGS(sys.argv)[1:]
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    if rest:
        raise UserError(f"{rest[0]!r} is not a flag; flags are written --name=value")


def _run() -> int:
    """The exit status, as of other scripts; `orl_jax.run.cli` would need a configuration."""
    exit_on_sigterm()
    try:
        _parse()
        if FLAGS.help:
            own = FLAGS.get_flags_for_module(sys.argv[0])
            print(__doc__.strip(), "", *(f"  --{flag.name}: {flag.help}" for flag in own), sep="\n")
            return 0
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if (line := shortage.explain(error)) is None:
            raise
        print(f"failed: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(_run())

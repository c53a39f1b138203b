"""`report.html`: one file that opens offline and shows everything a run left behind.

The page contains its style, figures (SVG) and frames of clips (data addresses), runs no script, and
forbids every request by a content security policy. Everything that comes from the run (questions,
responses, names) is escaped by the template engine.
"""

import dataclasses
import pathlib
from typing import Any

import jinja2
import markupsafe

from orl_jax.data.video import ClipFormat
from orl_jax.report.bars import Bar, bars
from orl_jax.report.curves import learning_curves
from orl_jax.report.distributions import distributions
from orl_jax.report.environment import environment
from orl_jax.report.frames import SHOWN, Frames
from orl_jax.report.gallery import EXAMPLES, gallery
from orl_jax.report.record import Record, read_record
from orl_jax.report.statistics import SMALL, Interval, wilson
from orl_jax.report.summary import summary
from orl_jax.report.table import (
    MODELS,
    SPLIT_TITLES,
    SPLITS,
    TITLES,
    Row,
    accuracy_rows,
    paired_change,
)
from orl_jax.report.wording import FILTERS
from orl_jax.run.files import write_atomic

_TEMPLATE = "report.html.jinja"
_USUAL_IMAGE_SIZE = 64  # pixels per side, where the config does not say


@dataclasses.dataclass(frozen=True)
class Split:
    """A split in the table and in the bars.

    Attributes:
      rows: of the table.
      models: those that were evaluated on it.
      changes: of each row, `paired_change`.
    """

    name: str
    title: str
    rows: list[Row]
    models: list[str]
    changes: list[Interval | None]
    bars: markupsafe.Markup


def write_report(workdir: pathlib.Path | str, *, data_folder: pathlib.Path | str) -> pathlib.Path:
    """Writes `report.html` into a workdir, from the files that the run left there.

    Args:
      workdir: holds `results.json`, `metrics.jsonl`, `rollouts/`, `predictions/`; any of them may
        be missing, and the report then says so where it would have been shown.
      data_folder: what the paths of clips are relative to.

    Returns:
      The path of the report.

    Example: `write_report("runs/demo", data_folder="data")` gives `runs/demo/report.html`.
    """
    record = read_record(pathlib.Path(workdir))
    page = (
        _environment().get_template(_TEMPLATE).render(_content(record, pathlib.Path(data_folder)))
    )
    path = record.workdir / "report.html"
    write_atomic(path, page)
    return path


def templates(*folders: pathlib.Path) -> jinja2.Environment:
    """Templates of some folders and of this one, which has the style; all they show is escaped.

    Example: `templates(pathlib.Path(__file__).parent).get_template("page.html.jinja")`.
    """
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, pathlib.Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= FILTERS
    return env


def _environment() -> jinja2.Environment:
    env = templates()
    env.globals |= {"wilson": wilson}
    return env


def _content(record: Record, data_folder: pathlib.Path) -> dict[str, Any]:
    return {
        "record": record,
        "summary": summary(record),
        "splits": [split for name in SPLITS if (split := _split(record, name))],
        "curves": learning_curves(record),
        "distributions": distributions(record),
        "chapters": gallery(record, _frames(record, data_folder)),
        "environment": record.results.get("environment") or environment(),
        "titles": TITLES,
        "small": SMALL,
        "examples": EXAMPLES,
    }


def _split(record: Record, name: str) -> Split | None:
    rows = accuracy_rows(record.results, name)
    if not rows:
        return None
    models = [m for m in MODELS if any(row.greedy.get(m) is not None for row in rows)]
    figure = bars(
        [(row.name, _bars(row, models)) for row in rows],
        name=f"Greedy accuracy by task type, {SPLIT_TITLES[name]} split",
    )
    changes = [paired_change(record.predictions, name, row) for row in rows]
    return Split(name, SPLIT_TITLES[name], rows, models, changes, figure)


def _bars(row: Row, models: list[str]) -> list[Bar]:
    values = [(model, row.greedy.get(model)) for model in models]
    return [Bar(v, *wilson(v, row.n), colour=model) for model, v in values if v is not None]


def _frames(record: Record, data_folder: pathlib.Path) -> Frames:
    """Clips as the policy saw them, as far as the config says."""
    frames = record.setting("data", "frames") or SHOWN
    size = record.setting("data", "image_size") or _USUAL_IMAGE_SIZE
    framing = record.setting("data", "framing") or "crop"
    return Frames(data_folder, ClipFormat(frames, size, framing))

"""An empty figure that becomes inline SVG and follows the page's theme.

Matplotlib draws with one stand-in colour for each role; the SVG then names the page's CSS
variables instead, so that the same figure reads on light and on dark. Text stays text in the page's
own typeface. A figure is `NARROW` or `WIDE` units wide, for a card of a third or of half a page,
and scales with its card; neither is much wider than a phone, so that its text stays readable there.
"""

import contextlib
import io
import re
from collections.abc import Iterator

import markupsafe
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

NARROW, WIDE = 290.0, 330.0  # units; one is a CSS pixel at natural size
# Stand-ins: unlikely colours, replaced by `var(--role)` of report.css.
COLOURS = {
    "ink": "#0101f1",
    "muted": "#0202f2",
    "line": "#0303f3",
    "sft": "#0404f4",
    "control": "#0505f5",
    "rl": "#0606f6",
    "good": "#0707f7",
    "bad": "#0808f8",
    "accent": "#0909f9",
}


@contextlib.contextmanager
def canvas(
    name: str, height: float, width: float
) -> Iterator[tuple[Figure, list[markupsafe.Markup]]]:
    """A figure; on leaving, the list holds its SVG."""
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,  # a task type may hold a dollar sign
        "font.family": "DejaVu Sans",
        "font.size": 10.0,
    }
    result: list[markupsafe.Markup] = []
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        yield figure, result
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    result.append(_themed(text.getvalue(), name))


def bare(axes: Axes) -> None:
    """Takes the frame and the tick marks away, and mutes the tick labels."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=COLOURS["muted"], labelsize=10, pad=5)


def _themed(svg: str, name: str) -> markupsafe.Markup:
    """Cuts what belongs to a file of its own, and puts the page's colours and typeface in."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' ?font-family: [^;"]*;?', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    label = f' class="fig" role="img" aria-label="{markupsafe.escape(name)}"'
    return markupsafe.Markup(svg.replace("<svg", "<svg" + label, 1).strip())

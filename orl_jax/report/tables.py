"""Tables of text: aligned columns for the terminal, the same as Markdown."""

import re
from collections.abc import Collection, Iterator, Sequence

Line = Sequence[str]
RULE: Line = ()
_BAR = re.compile(r"(?<!\\)\|")


def plain(rows: Sequence[Line], texts: Collection[int] = (0,), gap: str = "  ") -> list[str]:
    """Lines with aligned columns: texts on the left of theirs, numbers on the right.

    Args:
      rows: cells, the head among them; a short row ends early, `RULE` is a line across.
      texts: columns that are text.
      gap: between columns.

    Example: `plain([["task", "n"], RULE, ["counting", "9"]])` is
    `["task      n", "-----------", "counting  9"]`.
    """
    widths = _widths(rows)
    across = "-" * (sum(widths) + len(gap) * (len(widths) - 1))
    return [gap.join(_padded(row, widths, texts)).rstrip() if row else across for row in rows]


def markdown(head: Line, rows: Sequence[Line], texts: Collection[int] = (0,)) -> list[str]:
    r"""Lines of a table in GitHub's Markdown that also reads as plain text; bars are escaped.

    Args:
      head: names of columns.
      rows: as many cells each.
      texts: columns that are text; the others are numbers, to the right.

    Example: `markdown(["task", "n"], [["a|b", "9"]])` is
    `["| task |  n |", "| :--- | -: |", "| a\|b |  9 |"]`.
    """
    lines = [[_BAR.sub(r"\\|", cell) for cell in row] for row in (head, *rows)]
    widths = [max(width, 2) for width in _widths(lines)]
    rule = [
        ":" + "-" * (width - 1) if place in texts else "-" * (width - 1) + ":"
        for place, width in enumerate(widths)
    ]
    cells = [list(_padded(row, widths, texts)) for row in lines]
    return [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]


def _widths(rows: Sequence[Line]) -> list[int]:
    columns = max(map(len, rows))
    return [max(len(row[place]) for row in rows if place < len(row)) for place in range(columns)]


def _padded(row: Line, widths: Sequence[int], texts: Collection[int]) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(row, widths, strict=False)):
        yield cell.ljust(width) if place in texts else cell.rjust(width)

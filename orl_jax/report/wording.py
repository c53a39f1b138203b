"""How numbers are written in the report: the filters of its template."""

import json
from collections.abc import Callable
from typing import Any

# JSON tells 1 from 1.0; whoever reads a number from it takes either.
Number = int | float
MINUS, THIN = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"
MISSING = "\N{EN DASH}"


def percent(value: Number | None, unit: bool = True) -> str:
    """A share in [0, 1] with one decimal: `percent(0.5412)` gives "54.1 %"."""
    if value is None:
        return MISSING
    return f"{100 * value:.1f}" + (f"{THIN}%" if unit else "")


def share(value: Number) -> str:
    """A setting in [0, 1], without needless decimals: `share(0.55)` gives "55 %"."""
    return f"{100 * value:.3g}{THIN}%"


def points(value: Number | None) -> str:
    """A change of a share, in points with its sign: `points(0.031)` gives "+3.1"."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def signed(value: Number) -> str:
    """An advantage: `signed(0.25)` gives "+0.250"."""
    return "0" if value == 0 else f"{value:+.3f}".replace("-", MINUS)


def plain(value: Number) -> str:
    """Two decimals at most: `plain(1.5)` gives "1.5"."""
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-", MINUS)


def duration(seconds: Number) -> str:
    """`duration(98.4)` gives "1 min 38 s"."""
    if seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{number}{THIN}{unit}" for number, unit in parts[:2])


def thousands(value: int) -> str:
    """`thousands(1080)` gives "1,080"."""
    return f"{value:,}"


def setting(value: Any) -> str:
    """A value of the config, as JSON writes it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def tone(value: Number | None, least: Number = 0.0) -> str:
    """The class of a change: "up", "down" or "level" (within `least` of zero)."""
    if value is None or abs(value) <= least:
        return "level"
    return "up" if value > 0 else "down"


def anchor(name: str) -> str:
    """A name made fit for an id."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "share": share,
    "points": points,
    "signed": signed,
    "plain": plain,
    "duration": duration,
    "thousands": thousands,
    "setting": setting,
    "tone": tone,
    "anchor": anchor,
}

"""Scenes of the embedded world: one to three coloured shapes, each with a behaviour over time.

A scene is a description, determined by its seed; `render.py` draws it and `question.py` asks about
it. Every object has its own lane (a row or a column), so that objects pass without occlusion, and
every motion spans the picture, so that a few frames show it.
"""

import dataclasses

import numpy as np

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
BEHAVIOURS = ("forward", "backward", "bounce", "still", "appear", "vanish")
MOTIONS = ("forward", "forward", "backward", "backward", "bounce", "still")
# Colour-shape pairs that are only in the composition split.
HELD_OUT_PAIRS = (("red", "triangle"), ("green", "cross"), ("blue", "circle"), ("yellow", "square"))
# When an event happens, as a fraction of the clip; gaps separate the classes.
EVENT_TIMES = {
    "near the start": (0.18, 0.27),
    "halfway": (0.45, 0.55),
    "near the end": (0.73, 0.82),
}
LANES = (0.19, 0.5, 0.81)  # centres, as a fraction of the picture
NEAR, FAR = 0.16, 0.84  # ends of a motion along the lane
STORY_SHARE = 0.7  # of the objects of a story after the first: may have an event as the first has


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
      colour, shape: names from `COLOURS` and `SHAPES`.
      behaviour: a name from `BEHAVIOURS`; `forward` is rightwards in a row, downwards in a column.
      lane: position across the lanes, as a fraction of the picture.
      place: position along the lane where the object rests (still, appear, vanish) or starts
        (bounce).
      event: when it appears or vanishes, as a fraction of the clip; 0 for other behaviours.
      moment: the name of `event` in `EVENT_TIMES`, or "".
      radius: half the size, as a fraction of the picture.
    """

    colour: str
    shape: str
    behaviour: str
    lane: float
    place: float
    event: float
    moment: str
    radius: float

    @property
    def name(self) -> str:
        """For example `red circle`."""
        return f"{self.colour} {self.shape}"

    def along(self, time: np.ndarray) -> np.ndarray:
        """Position along the lane at `time` [N] in 0..1, as a fraction of the picture."""
        if self.behaviour == "forward":
            return NEAR + (FAR - NEAR) * time
        if self.behaviour == "backward":
            return FAR - (FAR - NEAR) * time
        if self.behaviour == "bounce":
            start, wall = (NEAR, FAR) if self.place < 0.5 else (FAR, NEAR)
            return wall + (start - wall) * np.abs(1 - 2 * time)
        return np.full_like(time, self.place)

    def visible(self, time: np.ndarray) -> np.ndarray:
        """Whether it is in the picture at `time` [N], bool."""
        if self.behaviour == "appear":
            return time >= self.event
        if self.behaviour == "vanish":
            return time < self.event
        return np.ones_like(time, dtype=bool)


@dataclasses.dataclass(frozen=True)
class Scene:
    """A clip's content. Lanes are `rows` (left-right motion) or columns (up-down)."""

    things: tuple[Thing, ...]
    rows: bool
    background: int


def sample_scene(
    rng: np.random.Generator, *, composition: bool = False, story: bool = False
) -> Scene:
    """Draws a scene.

    Args:
      rng: the only source of randomness, so that the seed determines the scene.
      composition: whether the first object is one of `HELD_OUT_PAIRS`; otherwise none is.
      story: whether several objects may appear or vanish, at different moments; otherwise at most
        one does.

    Example: `sample_scene(np.random.default_rng(0)).things[0].name`.
    """
    count = int(rng.choice([1, 2, 3], p=[0.2, 0.4, 0.4]))
    lanes = rng.permutation(LANES)[:count] + rng.uniform(-0.03, 0.03, count)
    pairs = _sample_pairs(rng, count, composition)
    things = tuple(
        _sample_thing(
            rng, pair, lane, eventful=index == 0 or (story and rng.random() < STORY_SHARE)
        )
        for index, (pair, lane) in enumerate(zip(pairs, lanes, strict=True))
    )
    if story:
        things = _at_different_moments(rng, things)
    order = rng.permutation(count)  # so that the object with the event is not always first
    things = tuple(things[i] for i in order)
    return Scene(things, rows=bool(rng.integers(2)), background=int(rng.integers(10, 60)))


def _sample_pairs(rng: np.random.Generator, count: int, composition: bool) -> list[tuple[str, str]]:
    """Colours are distinct within a scene, so that they identify objects; shapes may repeat."""
    colours = [str(colour) for colour in rng.permutation(COLOURS)[:count]]
    pairs = []
    for index, colour in enumerate(colours):
        if composition and index == 0:
            held_out = HELD_OUT_PAIRS[int(rng.integers(len(HELD_OUT_PAIRS)))]
            colours[1:] = [c if c != held_out[0] else colour for c in colours[1:]]
            pairs.append(held_out)
            continue
        shapes = [shape for shape in SHAPES if (colours[index], shape) not in HELD_OUT_PAIRS]
        pairs.append((colours[index], shapes[int(rng.integers(len(shapes)))]))
    return pairs


def _at_different_moments(rng: np.random.Generator, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    moments = iter([str(moment) for moment in rng.permutation(list(EVENT_TIMES))])
    found = []
    for thing in things:
        if thing.moment:
            moment = next(moments)
            event = float(rng.uniform(*EVENT_TIMES[moment]))
            thing = dataclasses.replace(thing, moment=moment, event=event)
        found.append(thing)
    return tuple(found)


def _sample_thing(
    rng: np.random.Generator, pair: tuple[str, str], lane: float, eventful: bool
) -> Thing:
    # Most scenes have one event, for temporal questions; most other objects cross the picture.
    names = ("appear", "vanish") if eventful and rng.random() < 0.65 else MOTIONS
    behaviour = names[int(rng.integers(len(names)))]
    moment, event = "", 0.0
    if behaviour in ("appear", "vanish"):
        moment = list(EVENT_TIMES)[int(rng.integers(len(EVENT_TIMES)))]
        event = float(rng.uniform(*EVENT_TIMES[moment]))
    place = float(rng.choice([rng.uniform(0.15, 0.32), rng.uniform(0.68, 0.85)]))
    radius = float(rng.uniform(0.14, 0.155))
    return Thing(*pair, behaviour, float(lane), place, event, moment, radius)

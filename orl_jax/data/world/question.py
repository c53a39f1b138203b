"""Questions about a scene, their answers and paraphrases, and the wrong answers that SFT learns.

The task types are Video-MME's. Answers are whole sentences. Some of the answers that SFT learns are
wrong, as in scraped instruction data: *systematically* (for the values in `CONFUSIONS` a fixed
share of the answers gives the same wrong value) and *at random*. The clean answer is kept as well,
as the reference for the Oracle, the evaluation and the clean control.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from orl_jax.data.world.scene import COLOURS, EVENT_TIMES, SHAPES, Scene, Thing

TASK_TYPES = (
    "action recognition",
    "attribute perception",
    "counting",
    "object recognition",
    "spatial perception",
    "temporal perception",
)
ACTIONS = ("right", "left", "up", "down", "bounce", "still", "appear", "vanish")
SIDES = ("left", "right", "top", "bottom")
NUMBERS = ("no", "one", "two", "three")
VALUES = {
    "action recognition": ACTIONS,
    "attribute perception": COLOURS,
    "counting": NUMBERS,
    "object recognition": SHAPES,
    "spatial perception": SIDES,
    "temporal perception": tuple(EVENT_TIMES),
}
# Values and their systematic wrong answers: two fifths of the answers, mostly swaps.
CONFUSIONS = {
    "action recognition": {"right": "left", "left": "right", "bounce": "still", "still": "bounce"},
    "attribute perception": {"red": "green", "green": "red"},
    "counting": {"three": "two"},
    "object recognition": {"circle": "cross", "cross": "circle"},
    "spatial perception": {"left": "right", "right": "left"},
    "temporal perception": {"near the start": "near the end", "near the end": "near the start"},
}
ACTION_PHRASES = {
    "right": ("moves to the right", "goes right"),
    "left": ("moves to the left", "goes left"),
    "up": ("moves up", "goes up"),
    "down": ("moves down", "goes down"),
    "bounce": ("bounces back", "turns around at the wall"),
    "still": ("stays still", "does not move"),
    "appear": ("appears", "comes into view"),
    "vanish": ("vanishes", "goes out of view"),
}
SIDE_PHRASES = {
    "left": ("on the left", "at the left side"),
    "right": ("on the right", "at the right side"),
    "top": ("at the top", "in the upper part"),
    "bottom": ("at the bottom", "in the lower part"),
}


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about a scene. `value` is its answer, one of `VALUES[task_type]`.

    `difficulty` is 1 if a single frame is enough to answer and 2 if time matters.
    """

    task_type: str
    text: str
    subject: str
    value: str
    difficulty: int
    event: str = ""

    def answers(self, value: str) -> tuple[str, ...]:
        """The reference answer for `value`, then its accepted paraphrases."""
        return _answers(self, value)


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """At most one question per task type, about randomly drawn objects.

    Example: `questions(scene, rng)[0].text == "What does the red circle do?"`.
    """
    kinds = [some for some in possible(scene) if some]
    return [some[int(rng.integers(len(some)))] for some in kinds]


def possible(scene: Scene) -> list[list[Question]]:
    """All questions about a scene, by task type."""
    makers = (_action, _attribute, _counting, _object, _spatial, _temporal)
    return [list(make(scene)) for make in makers]


def taught_value(
    question: Question, rng: np.random.Generator, *, systematic_share: float, random_share: float
) -> str:
    """The value that SFT learns: right, systematically wrong or randomly wrong.

    Args:
      systematic_share: probability of the wrong value in `CONFUSIONS`, for values in it.
      random_share: probability of a random other value; drawn first.
    """
    return taught(
        question.task_type, question.value, rng,
        systematic_share=systematic_share, random_share=random_share,
    )  # fmt: skip


def taught(
    task_type: str,
    value: str,
    rng: np.random.Generator,
    *,
    systematic_share: float,
    random_share: float,
) -> str:
    """The value that SFT learns instead of a value of `VALUES[task_type]`; see `taught_value`."""
    if rng.random() < random_share:
        others = [v for v in VALUES[task_type] if v != value]
        return others[int(rng.integers(len(others)))]
    wrong = CONFUSIONS[task_type].get(value)
    return wrong if wrong and rng.random() < systematic_share else value


def _action(scene: Scene) -> Iterator[Question]:
    for thing in scene.things:
        text = f"What does the {thing.name} do?"
        yield Question("action recognition", text, thing.name, action_of(thing, scene.rows), 2)


def action_of(thing: Thing, rows: bool) -> str:
    """What an object does, a name in `ACTIONS`."""
    directions = ("right", "left") if rows else ("down", "up")
    moves = dict(zip(("forward", "backward"), directions, strict=True))
    return moves.get(thing.behaviour, thing.behaviour)


def _attribute(scene: Scene) -> Iterator[Question]:
    shapes = [thing.shape for thing in scene.things]
    for thing in scene.things:
        if shapes.count(thing.shape) == 1:
            text = f"What colour is the {thing.shape}?"
            yield Question("attribute perception", text, thing.shape, thing.colour, 1)


def _object(scene: Scene) -> Iterator[Question]:
    for thing in scene.things:
        text = f"What is the {thing.colour} object?"
        yield Question("object recognition", text, f"{thing.colour} object", thing.shape, 1)


def _counting(scene: Scene) -> Iterator[Question]:
    shapes = [thing.shape for thing in scene.things]
    total = NUMBERS[len(shapes)]
    for _ in range(2):  # to be drawn as often as the questions about a shape
        yield Question("counting", "How many objects are in the video?", "object", total, 1)
    for shape in dict.fromkeys(shapes):
        repeated = shapes.count(shape) > 1
        if repeated or shape == shapes[0]:
            value = NUMBERS[shapes.count(shape)]
            yield Question("counting", f"How many {_plural(shape)} are there?", shape, value, 1)


def _spatial(scene: Scene) -> Iterator[Question]:
    sides = ("left", "right") if scene.rows else ("top", "bottom")
    for thing in scene.things:
        for when, time in (("start", 0.0), ("end", 1.0)):
            if thing.visible(np.array([time]))[0]:
                side = sides[int(thing.along(np.array([time]))[0] > 0.5)]
                text = f"Where is the {thing.name} at the {when}?"
                yield Question("spatial perception", text, thing.name, side, 2)


def _temporal(scene: Scene) -> Iterator[Question]:
    for thing in scene.things:
        if thing.moment:
            text = f"When does the {thing.name} {thing.behaviour}?"
            yield Question(
                "temporal perception", text, thing.name, thing.moment, 2, thing.behaviour
            )


def _plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")


def _answers(question: Question, value: str) -> tuple[str, ...]:
    the = f"The {question.subject}"
    if question.task_type == "action recognition":
        return tuple(f"{the} {phrase}." for phrase in ACTION_PHRASES[value])
    if question.task_type == "attribute perception":
        return (f"{the} is {value}.", f"It is a {value} {question.subject}.")
    if question.task_type == "object recognition":
        return (f"{the} is a {value}.", f"It is a {value}.")
    if question.task_type == "spatial perception":
        return tuple(f"{the} is {phrase}." for phrase in SIDE_PHRASES[value])
    if question.task_type == "temporal perception":
        return (f"{the} {question.event}{'es' if question.event.endswith('sh') else 's'} {value}.",
                f"It happens {value}.")  # fmt: skip
    noun = question.subject if value == "one" else _plural(question.subject)
    verb = "is" if value == "one" else "are"
    return (f"There {verb} {value} {noun}.", f"The video shows {value} {noun}.")

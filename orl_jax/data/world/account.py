"""What there is to tell about a scene: the facts, true or as SFT learns them.

A fact is a key (whom it is about, which attribute) with a value:

    ("", "count")           how many objects there are, one of `NUMBERS`
    ("red", "shape")        of the object of a colour, which is unique in a scene
    ("red", "place")        the side where it starts, rests or appears
    ("red", "action")       what it does, one of `ACTIONS`
    ("red", "moment")       when it appears or vanishes
    ("blue red", "order")   of two events, in alphabetical order: whose is first
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from orl_jax.data.world.question import NUMBERS, SIDES, action_of, taught
from orl_jax.data.world.scene import Scene, Thing

Key = tuple[str, str]
Fact = tuple[Key, str]


@dataclasses.dataclass(frozen=True)
class Sight:
    """One object of an account; `moment` is "" for objects without an event."""

    colour: str
    shape: str
    place: str
    action: str
    moment: str


@dataclasses.dataclass(frozen=True)
class Account:
    """What is told about a scene, in no particular words.

    Attributes:
      count: how many objects there are, one of `NUMBERS`.
      sights: the objects.
      order: indices of the objects with events, the earliest first; empty for fewer than two.
    """

    count: str
    sights: tuple[Sight, ...]
    order: tuple[int, ...]

    def facts(self) -> dict[Key, str]:
        """All facts by key."""
        return dict(self._facts())

    def _facts(self) -> Iterator[Fact]:
        yield ("", "count"), self.count
        for sight in self.sights:
            for attribute in ("shape", "place", "action", "moment"):
                if value := getattr(sight, attribute):
                    yield (sight.colour, attribute), value
        yield from in_order([self.sights[index].colour for index in self.order])


def in_order(colours: Sequence[str]) -> Iterator[Fact]:
    """The facts about the order of events, one for each pair.

    Example: `list(in_order(["red", "blue"])) == [(("blue red", "order"), "red")]`.
    """
    for first, second in itertools.combinations(colours, 2):
        if first != second:
            yield (" ".join(sorted((first, second))), "order"), first


def account_of(scene: Scene) -> Account:
    """The truth about a scene."""
    sights = tuple(_sight(thing, scene.rows) for thing in scene.things)
    events = [index for index, thing in enumerate(scene.things) if thing.moment]
    events.sort(key=lambda index: scene.things[index].event)
    order = tuple(events) if len(events) > 1 else ()
    return Account(NUMBERS[len(sights)], sights, order)


def _sight(thing: Thing, rows: bool) -> Sight:
    sides = SIDES[:2] if rows else SIDES[2:]
    place = sides[int(thing.along(np.zeros(1))[0] > 0.5)]
    return Sight(thing.colour, thing.shape, place, action_of(thing, rows), thing.moment)


def taught_account(
    account: Account, rng: np.random.Generator, *, systematic_share: float, random_share: float
) -> Account:
    """The account that SFT learns: each of its values right, or wrong as in `taught_value`.

    Colours stay unique: one that another object has is not taught. Of the order of events, two
    neighbours change places with probability `random_share`.
    """

    def learnt(task_type: str, value: str) -> str:
        return taught(
            task_type, value, rng, systematic_share=systematic_share, random_share=random_share
        )

    sights = list(account.sights)
    for index, sight in enumerate(sights):
        colour = learnt("attribute perception", sight.colour)
        sights[index] = Sight(
            sight.colour if colour in {other.colour for other in sights} else colour,
            learnt("object recognition", sight.shape),
            learnt("spatial perception", sight.place),
            learnt("action recognition", sight.action),
            sight.moment and learnt("temporal perception", sight.moment),
        )
    order = list(account.order)
    if order and rng.random() < random_share:
        place = int(rng.integers(len(order) - 1))
        order[place : place + 2] = order[place : place + 2][::-1]
    return Account(learnt("counting", account.count), tuple(sights), tuple(order))

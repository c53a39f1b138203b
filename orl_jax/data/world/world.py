"""The embedded world on disk: clips drawn to mp4 files in parallel, and the items about them.

Deterministic in `seed`; every clip of every split has its own random stream. The composition split
shows colour-shape pairs that no other split has.
"""

import dataclasses
import functools
import multiprocessing
import os
import pathlib
from typing import Any

import numpy as np
from tqdm import tqdm

from orl_jax.data.world.description import description
from orl_jax.data.world.question import Question, questions, taught_value
from orl_jax.data.world.render import render, write_mp4
from orl_jax.data.world.scene import Scene, sample_scene
from orl_jax.data.world.scene_labels import scene_to_json
from orl_jax.run.errors import UserError

SPLITS = ("train", "validation", "test", "composition")


@dataclasses.dataclass(frozen=True)
class World:
    """The settings of the data set. Splits are in clips; a clip has up to six questions."""

    seed: int
    train: int
    validation: int
    test: int
    composition: int
    frames: int  # per clip
    rate: int  # frames per second
    size: int  # pixels per side
    systematic_share: float  # of SFT answers with values in CONFUSIONS: systematically wrong
    random_share: float  # of all SFT answers: randomly wrong

    story = False  # whether scenes are drawn with several events

    def items(self, split: str, scene: Scene, rng: np.random.Generator) -> list[dict[str, Any]]:
        """The questions about a scene with their answers, without ids and video."""
        return [_item(question, rng, self) for question in questions(scene, rng)]


@dataclasses.dataclass(frozen=True)
class LongWorld(World):
    """A world of long answers: every clip is to be described, and some have short questions too.

    The two shares of wrong answers are here of the facts of a description.

    Raises:
      UserError: a share of its own is not between 0 and 1, or `tellings` is below 1.
    """

    cut_share: float  # of the SFT descriptions: sentences at the end are left out
    short_share: float  # of the clips: with the six short questions as well
    tellings: int  # descriptions of a clip of train, each in other words; of other splits one

    story = True

    def __post_init__(self) -> None:
        for name in ("cut_share", "short_share"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UserError(
                    f"config.data.descriptions.{name} is {value!r}; it must be between 0 and 1. "
                    f"For example --config.data.descriptions.{name}=0.2"
                )
        if self.tellings < 1:
            raise UserError(
                f"config.data.descriptions.tellings is {self.tellings}; it must be at least 1. "
                "For example --config.data.descriptions.tellings=3"
            )

    def items(self, split: str, scene: Scene, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Descriptions, then the short questions."""
        shares = (self.systematic_share, self.random_share, self.cut_share)
        count = self.tellings if split == "train" else 1
        found = [description(scene, rng, *shares) for _ in range(count)]
        return found + (super().items(split, scene, rng) if rng.random() < self.short_share else [])


def rng_of(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of a clip."""
    return np.random.default_rng([seed, *split.encode(), index])


def make_clips(
    world: World, folder: str | os.PathLike[str], workers: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Writes every clip under `folder`/videos and returns the items of each split.

    Args:
      workers: processes; 0 for one per core.
    """
    jobs = [(split, index) for split in SPLITS for index in range(getattr(world, split))]
    clip = functools.partial(_make_clip, world, str(folder))
    items: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    # spawn: the caller may have jax, whose threads do not survive a fork
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count()) as pool:
        done = pool.imap(clip, jobs, chunksize=32)
        for (split, _), made in zip(tqdm(jobs, "clips", unit="clip"), done, strict=True):
            items[split].extend(made)
    return items


def _make_clip(world: World, folder: str, job: tuple[str, int]) -> list[dict[str, Any]]:
    return make_clip(world, job[0], folder, job[1])


def make_clip(world: World, split: str, folder: str, index: int) -> list[dict[str, Any]]:
    """Draws clip `index` of a split, writes its mp4, and returns its items."""
    rng = rng_of(world.seed, split, index)
    scene = sample_scene(rng, composition=split == "composition", story=world.story)
    video = f"videos/{split}/{index:05d}.mp4"
    write_mp4(pathlib.Path(folder) / video, render(scene, world.frames, world.size), world.rate)
    text = scene_to_json(scene)
    return [
        {"item_id": f"{split}/{index:05d}-{number}", "video": video, "scene": text} | item
        for number, item in enumerate(world.items(split, scene, rng))
    ]


def _item(question: Question, rng: np.random.Generator, world: World) -> dict[str, Any]:
    answer, *paraphrases = question.answers(question.value)
    taught = taught_value(
        question,
        rng,
        systematic_share=world.systematic_share,
        random_share=world.random_share,
    )
    return {
        "question": question.text,
        "answer": answer,
        "paraphrases": paraphrases,
        "sft_answer": question.answers(taught)[0],
        "task_type": question.task_type,
        "difficulty": question.difficulty,
    }

"""Builds what a config's data section describes: the embedded world and its tokenizer."""

import itertools
import logging
import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from orl_jax.data.question import VALUES, questions
from orl_jax.data.scene import sample_scene
from orl_jax.data.shapes_builder import build
from orl_jax.data.tokenizer import build_word_tokenizer
from orl_jax.data.world import World, rng_of

VOCABULARY_SCENES = 500  # drawn to collect every word that questions and answers can hold


def prepare(config: ConfigDict) -> pathlib.Path:
    """Builds the data set and the tokenizer in `config.data.folder`, or finds them there.

    Raises:
      UserError: the folder holds a world of other settings.
    """
    world = World(**config.data.scenes)
    folder = build(config.data.folder, world, config.data.workers)
    tokenizer = build_word_tokenizer(_texts())
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    logging.info("data set and tokenizer of %d words are in %s", len(tokenizer), folder)
    return folder


def _texts() -> Iterator[str]:
    """Texts about random scenes, enough that every word occurs. Not a data split."""
    for index, composition in itertools.product(range(VOCABULARY_SCENES), (False, True)):
        rng = rng_of(index, "vocabulary", int(composition))
        for question in questions(sample_scene(rng, composition=composition), rng):
            yield question.text
            for value in VALUES[question.task_type]:
                yield from question.answers(value)

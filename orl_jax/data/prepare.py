"""Builds what a config describes: the embedded world and its tokenizer, or a benchmark."""

import itertools
import logging
import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.build import RECORD, build_benchmark
from orl_jax.data.benchmarks.registry import DESCRIBE, WORLDS
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.data.world.description import description
from orl_jax.data.world.question import VALUES, questions
from orl_jax.data.world.scene import sample_scene
from orl_jax.data.world.shapes_builder import build
from orl_jax.data.world.shapes_choice import FILE, write_video_mme
from orl_jax.data.world.world import LongWorld, World, rng_of
from orl_jax.run.errors import UserError

VOCABULARY_SCENES = 500  # drawn to collect every word of questions and answers


def prepare(config: ConfigDict) -> pathlib.Path:
    """Builds the data set of `config.source` in `config.data.folder`, or finds it there.

    The embedded world gets a tokenizer of its words; a benchmark is read with an existing one
    (`config.data.tokenizer`, or an import's).

    Raises:
      UserError: the folder holds another data set, or one with other settings; a benchmark's files
        are missing or wrong; a world of long answers without its section `data.descriptions`.
    """
    source = BenchmarkSource.of(config.source)
    if source.name in WORLDS:
        return _prepare_world(config)
    folder = build_benchmark(config.data.folder, source)
    tokenizer = config.data.tokenizer or "none yet: set config.data.tokenizer, or import weights"
    logging.info(
        "data set is in %s; no tokenizer is written (data.tokenizer: %s)", folder, tokenizer
    )
    return folder


def _prepare_world(config: ConfigDict) -> pathlib.Path:
    if (pathlib.Path(config.data.folder) / RECORD).is_file():
        raise UserError(
            f"{config.data.folder} holds a benchmark, the config says {config.source.name}; "
            "delete the folder or choose another --config.data.folder"
        )
    world = _world(config)
    long = isinstance(world, LongWorld)
    folder = build(config.data.folder, world, config.data.workers)
    tokenizer = build_word_tokenizer(itertools.chain(_texts(), _descriptions() if long else ()))
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    if not long and not (folder / FILE).is_file():
        write_video_mme(folder)
    logging.info("data set and tokenizer of %d words are in %s", len(tokenizer), folder)
    return folder


def _world(config: ConfigDict) -> World:
    if config.source.name != DESCRIBE:
        return World(**config.data.scenes)
    if "descriptions" not in config.data:
        raise UserError(
            f"config.source.name is {DESCRIBE}, but config.data has no section descriptions; "
            "use --config=configs/describe.py"
        )
    return LongWorld(**config.data.scenes, **config.data.descriptions)


def _texts() -> Iterator[str]:
    """Texts about random scenes, enough that every word occurs. Not a data split."""
    for index, composition in itertools.product(range(VOCABULARY_SCENES), (False, True)):
        rng = rng_of(index, "vocabulary", int(composition))
        for question in questions(sample_scene(rng, composition=composition), rng):
            yield question.text
            for value in VALUES[question.task_type]:
                yield from question.answers(value)


def _descriptions() -> Iterator[str]:
    """Descriptions of random scenes, right and wrong, in enough wordings that every word occurs."""
    for index, composition in itertools.product(range(VOCABULARY_SCENES), (False, True)):
        rng = rng_of(index, "descriptions", int(composition))
        item = description(
            sample_scene(rng, composition=composition, story=True), rng,
            systematic_share=0.5, random_share=0.1, cut_share=0.0,
        )  # fmt: skip
        yield from (item["question"], item["answer"], *item["paraphrases"], item["sft_answer"])

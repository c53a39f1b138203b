"""Answers of a policy to training questions, put in order by an Oracle.

What a trained ranker and VLM-RLAIF's reward model learn from: whole groups with their order, and of
every prompt one pair, at random among those that the Oracle does not tie.
"""

import logging
import math
import pathlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.data import pipeline
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.preferences import preference
from orl_jax.data.source import open_split
from orl_jax.data.video_settings import VideoSettings
from orl_jax.models import assembly as assemblies
from orl_jax.models.sampler import sample
from orl_jax.models.sequences import Prompt
from orl_jax.models.vlm import VLM
from orl_jax.oracles import Ranking, ask, make_oracle
from orl_jax.oracles.groups import to_row
from orl_jax.oracles.requests import Text, make_requests
from orl_jax.rl.score_oracle import device_oracles
from orl_jax.run import processes
from orl_jax.run.files import write_json_lines


def make_preferences(config: ConfigDict, workdir: str) -> pathlib.Path:
    """Writes WORKDIR/preferences.jsonl, in the form of `orl_jax.data.preferences`.

    And WORKDIR/groups.jsonl, all answers of a prompt in the form of `orl_jax.oracles.groups`, with
    the videos' paths as in the data set.

    Args:
      config: reads `preferences`, `data`, `model` and `preferences.oracle`.
      workdir: `preferences.init_from` is WORKDIR/checkpoints/sft where it is empty.

    Raises:
      UserError: missing data, tokenizer or checkpoint.
    """
    settings = config.preferences
    path = settings.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    assembly, params = assemblies.restore(config, path)
    oracle = make_oracle(
        settings.oracle.to_dict(), device_oracles(config, FrameCache(config.data.cache_mb))
    )
    layout = assembly.layout
    respond = layout.jit(partial(_respond, config, assembly), out_shardings=layout.batch)
    banned = assemblies.banned_tokens(assembly)
    rng = np.random.default_rng(settings.seed + jax.process_index())
    lines: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    with (
        _loader(config, assembly) as batches,
        tqdm(total=settings.prompts, desc="pairs", disable=not processes.is_writer()) as bar,
    ):
        for index in range(math.ceil(settings.prompts / settings.batch_size)):
            batch = next(batches)
            prompt = Prompt(batch["prompt_ids"], batch["prompt_mask"])
            inputs = layout.rows((batch["frames"], prompt))
            number = layout.replicate(np.asarray(index, np.int32))
            ids = layout.local_rows(respond(params, banned, *inputs, number))
            texts = [[assembly.encoder.decode(row) for row in group] for group in ids]
            texts = with_distractors(texts, batch["items"], settings.get("distractors", 0))
            requests = make_requests(batch["items"], texts, config.data.folder)
            rankings = ask(oracle, requests, settings.oracle.policy)
            for item, group, request, ranking in zip(
                batch["items"], texts, requests, rankings, strict=True
            ):
                lines += _pair(item, group, ranking, rng)
                groups.append({**to_row(request, ranking), "video": item["video"]})
            bar.update(settings.batch_size)
    file = pathlib.Path(workdir) / "preferences.jsonl"
    lines, groups = processes.gather_rows(lines), processes.gather_rows(groups)
    if processes.is_writer():
        write_json_lines(file, lines)
        write_json_lines(file.with_name("groups.jsonl"), groups)
    asked = math.ceil(settings.prompts / settings.batch_size) * settings.batch_size
    logging.info(
        "%d pairs of %d prompts (%d answers ranked) are in %s",
        len(lines), asked, asked * settings.samples, file,
    )  # fmt: skip
    return file


def with_distractors(
    texts: Sequence[Sequence[Text]], items: Sequence[dict[str, Any]], count: int
) -> list[list[Text]]:
    """The groups, with the last `count` answers of each replaced by answers to other questions.

    These come from the next prompts of the same task type in the batch: fluent, of the right kind,
    and about something else. A policy that is trained on a model's judgement finds such answers,
    so the model should have seen some. Without another prompt of its type a group stays as it is.

    Example: of two groups of one type, a b and c d, with one distractor: a c and c a.
    """
    mixed = []
    for place, (group, item) in enumerate(zip(texts, items, strict=True)):
        others = [*range(place + 1, len(items)), *range(place)]
        same = [i for i in others if items[i]["task_type"] == item["task_type"]][:count]
        kept = len(group) - len(same)
        mixed.append([*group[:kept], *(texts[i][0] for i in same)])
    return mixed


def _pair(
    item: dict[str, Any], group: Sequence[Text], ranking: Ranking, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """One untied pair of the group in random order, or none."""
    ranks = ranking.ranks
    places = range(len(ranks))
    untied = [(i, j) for i in places for j in places if ranks[i] < ranks[j]]
    if not ranking.valid or not untied:
        return []
    better, worse = untied[rng.integers(len(untied))]
    order = (better, worse) if rng.integers(2) else (worse, better)
    return [preference(item, [group[place] for place in order], order.index(better))]


def _respond(
    config: ConfigDict,
    assembly: assemblies.Assembly,
    params: dict[str, Any],
    banned: jax.Array,
    frames: jax.Array,
    prompt: Prompt,
    index: jax.Array,
) -> jax.Array:
    """Ids [B, samples, T]."""
    settings, encoder = config.preferences, assembly.encoder
    visual = assembly.model.apply({"params": params}, frames, method=VLM.see)
    key = jax.random.fold_in(jax.random.key(settings.seed), index)
    return sample(
        assembly.model, params, visual, prompt, banned, key,
        group_size=settings.samples, max_tokens=config.rl.max_response_tokens,
        temperature=settings.temperature, end_id=encoder.end_id, pad_id=encoder.pad_id,
    ).ids  # fmt: skip


def _loader(config: ConfigDict, assembly: assemblies.Assembly) -> Any:
    videos = VideoSettings.of(config.data)
    return pipeline.make_loader(
        open_split(videos.folder, "train"),
        videos,
        encoder=assembly.encoder,
        batch_size=config.preferences.batch_size,
        seed=config.preferences.seed,
        answers=None,
        **processes.share(),
    )

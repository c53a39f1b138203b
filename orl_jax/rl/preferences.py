"""Answers of a policy to training questions, put in order by an Oracle.

A trained ranker and VLM-RLAIF's reward model learn from these: whole groups with their order, and
one pair of every prompt, drawn at random among those that the Oracle does not tie.
"""

import logging
import math
import pathlib
from collections.abc import Callable, Sequence
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
from orl_jax.rl.device_policy import Sampling
from orl_jax.rl.score_oracle import device_oracles
from orl_jax.run import processes
from orl_jax.run.files import write_json_lines


def make_preferences(config: ConfigDict, workdir: str) -> pathlib.Path:
    """Writes WORKDIR/preferences.jsonl, in the form of `orl_jax.data.preferences`.

    Also writes WORKDIR/groups.jsonl: all answers to a prompt, in the form of
    `orl_jax.oracles.groups`, with the videos' paths as in the data set.

    Args:
      config: reads `preferences`, `data`, `model` and `preferences.oracle`.
      workdir: `preferences.init_from` is WORKDIR/checkpoints/sft where it is empty.

    Raises:
      UserError: missing data, tokenizer or checkpoint.
    """
    settings, videos = config.preferences, VideoSettings.of(config.data)
    path = settings.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    assembly, params = assemblies.restore(config, path)
    cache = FrameCache(config.data.cache_mb)
    oracle = make_oracle(
        settings.oracle.to_dict(), device_oracles(videos.folder, cache, dict(config.mesh))
    )
    encoder = assembly.encoder
    sampling = Sampling(
        settings.samples, config.rl.max_response_tokens, encoder.end_id, encoder.pad_id
    )
    respond = _responder(assembly, params, sampling, settings.temperature, settings.seed)
    rng = np.random.default_rng(settings.seed + jax.process_index())
    lines: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    loader = pipeline.make_loader(
        open_split(videos.folder, "train"), videos, encoder=encoder,
        batch_size=settings.batch_size, seed=settings.seed, answers=None, **processes.share(),
    )  # fmt: skip
    bar = tqdm(total=settings.prompts, desc="pairs", disable=not processes.is_writer())
    with loader as batches, bar:
        for index in range(math.ceil(settings.prompts / settings.batch_size)):
            batch = next(batches)
            texts = with_distractors(respond(batch, index), batch["items"], settings.distractors)
            requests = make_requests(batch["items"], texts, videos.folder)
            rankings = ask(oracle, requests, settings.oracle.policy)
            for item, group, request, ranking in zip(
                batch["items"], texts, requests, rankings, strict=True
            ):
                lines += _pair(item, group, ranking, rng)
                groups.append({**to_row(request, ranking), "video": item["video"]})
            bar.update(settings.batch_size)
    asked = math.ceil(settings.prompts / settings.batch_size) * settings.batch_size
    return _write(workdir, lines, groups, asked)


def _write(
    workdir: str, lines: list[dict[str, Any]], groups: list[dict[str, Any]], prompts: int
) -> pathlib.Path:
    """Writes the pairs and groups of all processes; returns the file of the pairs."""
    file = pathlib.Path(workdir) / "preferences.jsonl"
    lines, groups = processes.gather_rows(lines), processes.gather_rows(groups)
    if processes.is_writer():
        write_json_lines(file, lines)
        write_json_lines(file.with_name("groups.jsonl"), groups)
    answers = sum(len(group["responses"]) for group in groups)
    logging.info(
        "%d pairs of %d prompts (%d answers ranked) are in %s", len(lines), prompts, answers, file
    )
    return file


def with_distractors(
    texts: Sequence[Sequence[Text]], items: Sequence[dict[str, Any]], count: int
) -> list[list[Text]]:
    """The groups, with the last `count` answers of each replaced by answers to other questions.

    These come from the next prompts of the same task type in the batch: fluent, of the right kind,
    and about something else. A policy that is trained on a model's judgement finds such answers,
    so the model should have seen some. A group without another prompt of its type is unchanged.

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


def _responder(
    assembly: assemblies.Assembly,
    params: dict[str, Any],
    sampling: Sampling,
    temperature: float,
    seed: int,
) -> Callable[[dict[str, Any], int], list[list[Text]]]:
    """(batch, its number) -> of each prompt of this process its sampled answers."""
    model, encoder, layout = assembly.model, assembly.encoder, assembly.layout
    banned = assemblies.banned_tokens(assembly)

    def draw(
        params: dict[str, Any],
        banned: jax.Array,
        frames: jax.Array,
        prompt: Prompt,
        number: jax.Array,
    ) -> jax.Array:
        visual = model.apply({"params": params}, frames, method=VLM.see)
        key = jax.random.fold_in(jax.random.key(seed), number)
        return sample(
            model, params, visual, prompt, banned, key,
            group_size=sampling.group_size, max_tokens=sampling.max_tokens,
            temperature=temperature, end_id=sampling.end_id, pad_id=sampling.pad_id,
        ).ids  # fmt: skip

    compiled = layout.jit(draw, out_shardings=layout.batch)

    def respond(batch: dict[str, Any], index: int) -> list[list[Text]]:
        prompt = Prompt(batch["prompt_ids"], batch["prompt_mask"])
        frames, prompt = layout.rows((batch["frames"], prompt))
        number = layout.replicate(np.asarray(index, np.int32))
        ids = layout.local_rows(compiled(params, banned, frames, prompt, number))
        return [[encoder.decode(row) for row in group] for group in ids]

    return respond

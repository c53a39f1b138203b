"""Oracle-RLAIF: the stage "rl" of GRPO_rank or a rival, from its SFT checkpoint to its end.

    next prompts -> encode the videos once -> prefill once a prompt, decode G responses -> responses
    to the host -> Oracle -> ranks to the device -> `GrpoRank.step` (or `Ppo.step`)

`Learner` is one step of it; here it is put together and handed to the loop of all stages.
"""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from orl_jax.data import pipeline
from orl_jax.data.features import Features
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.look_ahead import LookAhead
from orl_jax.data.source import Items, open_split
from orl_jax.data.video_settings import VideoSettings
from orl_jax.evaluation.evaluator import Evaluator
from orl_jax.models import assembly as assemblies
from orl_jax.models.params import combine, policy_of
from orl_jax.oracles import make_oracle
from orl_jax.rl.asking import Asker
from orl_jax.rl.learner import Learner
from orl_jax.rl.score_oracle import TRAINED, device_oracles
from orl_jax.rl.seeing import seen_videos
from orl_jax.run import processes
from orl_jax.run.errors import UserError
from orl_jax.run.metrics import read_metrics
from orl_jax.training import loop
from orl_jax.training.monitors import Monitors
from orl_jax.training.state import TrainState


def train(config: ConfigDict, workdir: str, cache: FrameCache | None = None) -> TrainState:
    """Runs the stage "rl" in `workdir`, from the checkpoint `config.rl.init_from`.

    Args:
      cache: decoded frames that several runs share; by default a new one.

    Raises:
      UserError: missing data, tokenizer or checkpoint; rules that train nothing.
      TrainingHalted: after saving, on an alarm that stops (`config.monitors.stop_on`).
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    cache = FrameCache(config.data.cache_mb) if cache is None else cache
    with opened(config, workdir, cache) as (stage, state, batches):
        state = loop.run(stage, config, workdir, state, batches)
    if processes.is_writer():
        _warn_of_no_signal(workdir)
    return state


@contextlib.contextmanager
def opened(
    config: ConfigDict, workdir: str, cache: FrameCache
) -> Iterator[tuple[loop.Stage, TrainState, LookAhead]]:
    """The stage with its state before the first step and its data, ready for `loop.run`.

    Args, raises: see `train`.
    """
    with make_asker(config, cache) as asker:  # first: what is wrong with it needs no model
        with _opened(config, workdir, asker, cache) as opening:
            yield opening


@contextlib.contextmanager
def _opened(
    config: ConfigDict, workdir: str, asker: Asker, cache: FrameCache
) -> Iterator[tuple[loop.Stage, TrainState, LookAhead]]:
    rl = config.rl
    assembly = assemblies.assemble(config, lora=True)
    base = rl.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    pretrained = assemblies.load_params(base, assembly.layout)
    params = assemblies.initial_params(assembly, config.seed, pretrained)
    items = open_split(config.data.folder, "train")
    evaluator = Evaluator(config, assembly, cache)
    learner = Learner(config, assembly, params, asker, workdir, len(items))
    with (
        seen_videos(config, learner, params, items) as features,
        make_loader(config, assembly, items, cache, features) as batches,
    ):
        ahead = LookAhead(batches)
        stage = loop.Stage(
            name="rl",
            advance=lambda *args: learner.advance(*args, following=ahead.peek),
            validate=lambda state: evaluator.validation(
                combine(learner.frozen, policy_of(state.trained))
            ),
            steps=learner.steps,
            seconds=rl.seconds,
            validate_every=rl.validate_every,
            base=assemblies.base_reference(workdir, base),
            monitors=Monitors(config.monitors),
            sections=("rl", "oracle"),
        )
        yield stage, learner.start(), ahead


def _warn_of_no_signal(workdir: str) -> None:
    """Says so where no group of the whole run had anything to learn from."""
    rows = [row for row in read_metrics(workdir, "rl") if "group/no_signal_fraction" in row]
    if rows and all(row["group/no_signal_fraction"] == 1 for row in rows):
        logging.warning(
            "nothing was learnt: the Oracle tied every group of all %d steps; audit it "
            "(scripts/audit_oracle.py), for a ranker try a smaller oracle.tie_margin", len(rows)
        )  # fmt: skip


def make_asker(config: ConfigDict, cache: FrameCache) -> Asker:
    """The Oracle of the config, asked in the background where something runs meanwhile.

    Args:
      cache: decoded frames, for Oracles that look at the videos.

    Raises:
      UserError: what `make_oracle` refuses; an Oracle on the device that several processes would
        ask in the background, where their order of calls is not the same.
    """
    section = config.oracle
    background = bool(section.get("lag", 0) or section.get("overlap", False))
    named = {section.name, section.inner, *section.get("members", ())}
    if background and jax.process_count() > 1 and named & set(TRAINED):
        raise UserError(
            f"oracle.name is {section.name}, which runs on the device; with several processes it "
            "can't be asked in the background: --config.oracle.lag=0 --config.oracle.overlap=False"
        )
    return Asker(make_oracle(section.to_dict(), device_oracles(config, cache)), section, background)


def make_loader(
    config: ConfigDict,
    assembly: assemblies.Assembly,
    items: Items,
    cache: FrameCache,
    features: Features | None = None,
) -> Loader:
    """Prompts, shuffled anew every epoch."""
    videos = VideoSettings.of(config.data)
    return pipeline.make_loader(
        items,
        videos,
        encoder=assembly.encoder,
        batch_size=config.rl.batch_size,
        seed=config.seed,
        cache=None if videos.workers else cache,
        features=features,
        answers=None,
        **processes.share(),
    )

"""Oracle-RLAIF: the stage "rl" with GRPO_rank, GRPO or PPO, from its SFT checkpoint to its end.

    next prompts -> encode the videos once -> prefill each prompt once, decode G responses
    -> responses to the host -> Oracle -> ranks to the device -> `GrpoRank.step` (or `Ppo.step`)

`Learner` is one step of it. Here `config.rl` is read, its parts are put together, and the loop of
all stages runs them.
"""

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from orl_jax.data import pipeline
from orl_jax.data.features import Features
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.look_ahead import LookAhead
from orl_jax.data.source import Items, open_split
from orl_jax.data.text.known_words import check_words
from orl_jax.data.text.lengths import check_lengths
from orl_jax.data.video_sample import digests
from orl_jax.data.video_settings import VideoSettings
from orl_jax.evaluation.evaluator import Evaluator
from orl_jax.evaluation.settings import EvaluationSettings
from orl_jax.models import assembly as assemblies
from orl_jax.models.params import combine, flatten, masters, partition, policy_of
from orl_jax.oracles import make_oracle
from orl_jax.rl.algorithms import (
    make_algorithm,
    total_steps,
    updates_per_step,
    with_value_model,
)
from orl_jax.rl.asking import Asker, AskingSettings
from orl_jax.rl.device_policy import DevicePolicy, Sampling
from orl_jax.rl.feature_cache import precompute_features
from orl_jax.rl.learner import Learner
from orl_jax.rl.learner_settings import LearnerSettings
from orl_jax.rl.score_oracle import REWARD, TRAINED, checked_checkpoint, device_oracles
from orl_jax.run import processes
from orl_jax.run.checkpoint import locate
from orl_jax.run.errors import Failure, UserError
from orl_jax.run.metrics import read_metrics
from orl_jax.training import loop
from orl_jax.training.limits import Limits
from orl_jax.training.monitors import Monitors
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer, make_schedule
from orl_jax.training.resuming import identity
from orl_jax.training.saving import Saving
from orl_jax.training.state import TrainState

_SOME = 2000  # items whose questions' words are looked up


def train(config: ConfigDict, workdir: str, cache: FrameCache | None = None) -> TrainState:
    """Runs the stage "rl" in `workdir`, from the checkpoint `config.rl.init_from`.

    Args:
      cache: decoded frames that several runs share; by default a new one.

    Raises:
      UserError: missing data, tokenizer or checkpoint; rules that train nothing.
      Failure: after the last step, if the Oracle ranked no group in any of them.
      TrainingHalted: after saving, on an alarm that stops (`config.monitors.stop_on`).
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    cache = FrameCache(config.data.cache_mb) if cache is None else cache
    with opened(config, workdir, cache) as (stage, state, batches):
        state = loop.run(stage, Saving.of(config), workdir, state, batches)
    if processes.is_writer():
        _check_signal(workdir)
    return state


@contextlib.contextmanager
def opened(
    config: ConfigDict, workdir: str, cache: FrameCache
) -> Iterator[tuple[loop.Stage, TrainState, LookAhead]]:
    """The stage with its state before the first step and its data, ready for `loop.run`.

    Args, raises: see `train`.
    """
    with make_asker(config, cache) as asker:  # first: its faults show without a model
        with _opened(config, workdir, asker, cache) as opening:
            yield opening


@contextlib.contextmanager
def _opened(
    config: ConfigDict, workdir: str, asker: Asker, cache: FrameCache
) -> Iterator[tuple[loop.Stage, TrainState, LookAhead]]:
    rl = config.rl
    assembly = assemblies.assemble(config, lora=True)
    base = rl.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    pretrained = assemblies.load_policy(base, assembly)
    params = assemblies.initial_params(assembly, config.seed, pretrained)
    items = open_split(config.data.folder, "train")
    some = [items[index] for index in range(min(len(items), _SOME))]
    check_words(some, assembly.encoder, "", config.data.folder)
    check_lengths(items, assembly.encoder, "", config.data.folder)
    evaluator = Evaluator(EvaluationSettings.of(config), assembly, cache)
    learner = make_learner(config, assembly, params, asker, workdir, len(items))
    policy, frozen = learner.policy, learner.policy.frozen
    with (
        _features(config, policy, params, items) as features,
        make_loader(config, assembly, items, cache, features) as batches,
    ):
        ahead = LookAhead(batches)
        stage = loop.Stage(
            name="rl",
            train_step=lambda *args: learner.rl_step(*args, following=ahead.peek),
            validate=evaluator.validating(lambda s: combine(frozen, policy_of(s.trained))),
            steps=learner.settings.steps,
            seconds=rl.seconds,
            validate_every=rl.validate_every,
            base=assemblies.base_reference(workdir, base),
            identity=identity(
                assembly.encoder.digest, items.digest, locate(base),
                digests(items, config.data.folder),
            ),
            monitors=Monitors(Limits.of(config.monitors)),
            sections=("rl", "oracle"),
        )  # fmt: skip
        yield stage, learner.start(), ahead


def _check_signal(workdir: str) -> None:
    """Says where no group of the whole run had anything to learn from.

    Raises:
      Failure: the Oracle ranked none of them.
    """
    rows = [row for row in read_metrics(workdir, "rl") if "oracle/valid_fraction" in row]
    silent = [row["oracle/valid_fraction"] == 0 for row in rows]
    if rows and all(silent):
        raise Failure(
            f"nothing was learnt: the Oracle ranked no group in any of {len(rows)} steps; "
            f"{workdir}/rollouts has the reasons"
        )
    tied = [row.get("group/no_signal_fraction") == 1 for row in rows]
    if rows and all(nothing or same for nothing, same in zip(silent, tied, strict=True)):
        logging.warning(
            "nothing was learnt: the Oracle tied every group of all %d steps; audit it "
            "(scripts/audit_oracle.py), for a ranker try a smaller oracle.tie_margin", len(rows)
        )  # fmt: skip


def make_learner(
    config: ConfigDict,
    assembly: assemblies.Assembly,
    params: dict[str, Any],
    asker: Asker,
    workdir: str,
    items: int,
) -> Learner:
    """The parts of `config.rl`, put together.

    Args:
      config: reads `rl`, `oracle`, `model.vocabulary_chunk`, `data.folder`, `seed`.
      assembly: the model with adapters, the encoder of its prompts, and the layout.
      params: of the whole model.
      asker: asks the Oracle.
      workdir: gets the tables of rollouts.
      items: prompts in an epoch.

    Raises:
      UserError: rules that train nothing; rows that don't divide over the devices; a reward model
        that does not fit.
    """
    rl, layout, encoder = config.rl, assembly.layout, assembly.encoder
    layout.check_rows("rl.batch_size", rl.batch_size)
    layout.check_rows("rl.micro_batch", rl.micro_batch)
    trained, frozen = partition(params, rl.trainable)
    adapter_trained = any(path.startswith("adapter/") for path in flatten(trained))
    trained = masters(trained)
    if rl.algorithm == "ppo":
        width = assembly.model.language.width
        trained = with_value_model(trained, width, layout, value_model_start(config))
    steps, updates = total_steps(rl, items), updates_per_step(rl)
    settings = OptimizerSettings.of(rl)
    schedule = make_schedule(settings, steps * updates)
    algorithm = make_algorithm(
        config, assembly.model, make_optimizer(settings, schedule),
        adapter_trained=adapter_trained, end_id=encoder.end_id,
    )  # fmt: skip
    sampling = Sampling.of(rl, encoder)
    policy = DevicePolicy(assembly, algorithm, sampling, trained, frozen, config.seed)
    around = LearnerSettings.of(config, items=items, steps=steps, updates=updates)
    return Learner(policy, schedule, asker, around, workdir)


def value_model_start(config: ConfigDict) -> str:
    """The checkpoint that PPO's value model starts from: its own key, else the Oracle's, else "".

    Raises:
      UserError: the Oracle is a reward model without a checkpoint.
    """
    oracle = config.oracle
    if config.rl.ppo.value_from:
        return config.rl.ppo.value_from
    is_reward_model = REWARD in (oracle.name, oracle.inner)
    return checked_checkpoint(REWARD, oracle.checkpoint) if is_reward_model else ""


def _features(
    config: ConfigDict, policy: DevicePolicy, params: dict[str, Any], items: Items
) -> contextlib.AbstractContextManager[Features | None]:
    """The visual tokens of all videos, where `config.data.features` names a folder for them."""
    if not config.data.features:
        return contextlib.nullcontext()
    model = {part: config.model[part].to_dict() for part in ("vision", "adapter")}
    return precompute_features(
        config.data.features, policy, params, items, VideoSettings.of(config.data),
        batch_size=config.rl.batch_size, model=model,
    )  # fmt: skip


def make_asker(config: ConfigDict, cache: FrameCache) -> Asker:
    """The Oracle of the config, asked in the background where the device works in that time.

    Args:
      cache: decoded frames, for Oracles that look at the videos.

    Raises:
      UserError: what `make_oracle` refuses; an Oracle on the device that several processes would
        ask in the background, where their order of calls is not the same.
    """
    section, settings = config.oracle, AskingSettings.of(config.oracle)
    named = {section.name, section.inner, *section.members}
    if settings.background and jax.process_count() > 1 and named & set(TRAINED):
        raise UserError(
            f"oracle.name is {section.name}, which runs on the device; with several processes it "
            "cannot be asked in the background: --config.oracle.lag=0 --config.oracle.overlap=False"
        )
    on_device = device_oracles(config.data.folder, cache, dict(config.mesh))
    return Asker(make_oracle(section.to_dict(), on_device), settings)


def make_loader(
    config: ConfigDict,
    assembly: assemblies.Assembly,
    items: Items,
    cache: FrameCache,
    features: Features | None = None,
) -> Loader:
    """Prompts, in a new order every epoch."""
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

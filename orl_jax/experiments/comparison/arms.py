"""The arms of a comparison: what each changes in the config, and the jobs that result."""

import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict

from orl_jax.run import config as rules
from orl_jax.run.errors import UserError
from orl_jax.run.inheritance import SHARED


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of one arm.

    Attributes:
      arm: its name.
      stage: "rl", or "sft" for a control of more SFT.
      seed: for the order of the data, sampling and fresh adapters.
      folder: the run's workdir.
      overrides: dotted keys of the config with their values.
    """

    arm: str
    stage: str
    seed: int
    folder: str
    overrides: tuple[tuple[str, Any], ...]

    @property
    def result(self) -> pathlib.Path:
        """The file with the run's results; it exists once the run is done."""
        return pathlib.Path(self.folder) / "result.json"


def make_jobs(config: ConfigDict, workdir: str) -> list[Job]:
    """One job for each arm and seed of `config.compare`, seed by seed; controls come last.

    Raises:
      UserError: an override of an unknown or shared key, or one that breaks a rule; two arms with
        the same name; no arm or seed; a baseline, split or `control_of` that does not exist.
    """
    settings = config.compare
    names = [name for name, _, _ in settings.arms]
    if len(set(names)) < len(names) or not names or not settings.seeds:
        raise UserError(f"config.compare needs arms of different names and seeds; it has {names}")
    _check_overrides(config)
    _check_names(settings, names)
    jobs = [
        Job(name, stage, seed, _folder(workdir, name, seed), tuple(map(tuple, overrides)))
        for seed in settings.seeds
        for name, stage, overrides in settings.arms
    ]
    for job in jobs[: len(names)]:  # every arm once: refused before the first of them runs
        config_of(config, job)
    evaluation_config(config)
    return sorted(jobs, key=lambda job: job.stage != "rl")


def _check_overrides(config: ConfigDict) -> None:
    """Refuses keys that the config lacks, and shared ones, which its sections inherit no longer."""
    known, settings = set(rules.keys(config)), config.compare
    overrides = [(f"arm {name!r}", key) for name, _, pairs in settings.arms for key, _ in pairs]
    overrides += [("compare.evaluate_with", key) for key, _ in settings.evaluate_with]
    for who, key in overrides:
        if key not in known:
            raise UserError(f"{who} sets config.{key}, which is not a key")
        if key.startswith(tuple(f"{section}." for section in SHARED)):
            raise UserError(
                f"{who} sets config.{key}, a shared key; set {key.rpartition('.')[2]} in each "
                "section that it is meant for"
            )


def _check_names(settings: ConfigDict, names: list[str]) -> None:
    """Refuses a baseline or split that does not exist, and controls without an arm to follow."""
    wanted = {"baseline": names, "split": settings.splits}
    if any(stage == "sft" for _, stage, _ in settings.arms):
        wanted["control_of"] = [name for name, stage, _ in settings.arms if stage == "rl"]
    for key, choices in wanted.items():
        if settings[key] not in choices:
            raise UserError(
                f"config.compare.{key} is {settings[key]!r}; choose one of {', '.join(choices)}"
            )


def _folder(workdir: str, arm: str, seed: int) -> str:
    safe = "".join(c if c.isalnum() or c in "-." else "_" for c in arm)
    return str(pathlib.Path(workdir) / "runs" / safe / f"seed{seed}")


def config_of(config: ConfigDict, job: Job, seconds: float = 0.0) -> ConfigDict:
    """The config of one run: the comparison's with the arm's overrides, for an equal budget.

    An RL run ranks `compare.queries` answers in steps of `compare.answers` (prompts x group size).
    An SFT control trains for `seconds` on all questions, with the settings of `control`.

    Raises:
      UserError: the result breaks a rule of the config.
    """
    settings = config.compare
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict(dict(job.overrides))
    changed.seed = job.seed
    if job.stage == "rl":
        changed.rl.batch_size = settings.answers // changed.rl.group_size
        if changed.rl.algorithm == "ppo":  # minibatches are whole
            changed.rl.batch_size -= changed.rl.batch_size % changed.rl.ppo.minibatches
        changed.rl.steps = settings.queries // settings.answers
        changed.rl.init_from = settings.start
    else:
        changed.sft.update(
            init_from=settings.start, seconds=seconds, steps=1_000_000,
            curriculum=((1.0, (1, 2)),), **config.control,
        )  # fmt: skip
    rules.validate(changed)
    return changed.lock()


def evaluation_config(config: ConfigDict) -> ConfigDict:
    """The config that runs are evaluated with: the comparison's and `compare.evaluate_with`.

    Raises:
      UserError: the result breaks a rule of the config.
    """
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict(dict(config.compare.evaluate_with))
    rules.validate(changed)
    return changed.lock()

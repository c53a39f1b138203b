"""The arms of a comparison: what each of them changes in the config, and the jobs that follow."""

import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict

from orl_jax.run import config as rules
from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of one arm.

    Attributes:
      arm: its name.
      stage: "rl", or "sft" for a control of more SFT.
      seed: of the order of the data, of sampling and of fresh adapters.
      folder: the run's workdir.
      overrides: dotted keys of the config, with their values.
    """

    arm: str
    stage: str
    seed: int
    folder: str
    overrides: tuple[tuple[str, Any], ...]

    @property
    def result(self) -> pathlib.Path:
        """The file that says that the run is done, and how it ended."""
        return pathlib.Path(self.folder) / "result.json"


def make_jobs(config: ConfigDict, workdir: str) -> list[Job]:
    """One job for each arm and seed of `config.compare`, seed by seed; controls come last.

    Raises:
      UserError: an override of a key that the config lacks or that breaks a rule, two arms of one
        name, no arm or seed, a baseline or split that is not there, controls of no arm.
    """
    settings = config.compare
    names = [name for name, _, _ in settings.arms]
    if len(set(names)) < len(names) or not names or not settings.seeds:
        raise UserError(f"config.compare needs arms of different names and seeds; it has {names}")
    known = set(rules.keys(config))
    of_arms = {f"arm {name!r}": overrides for name, _, overrides in settings.arms}
    for who, overrides in {**of_arms, "compare.evaluate_with": settings.evaluate_with}.items():
        for key, _ in overrides:
            if key not in known:
                raise UserError(f"{who} sets config.{key}, which is not a key")
    _check_names(settings, names)
    jobs = [
        Job(name, stage, seed, _folder(workdir, name, seed), tuple(map(tuple, overrides)))
        for seed in settings.seeds
        for name, stage, overrides in settings.arms
    ]
    for job in jobs[: len(names)]:  # all arms; refused before the first of them runs
        config_of(config, job)
    evaluation_config(config)
    return sorted(jobs, key=lambda job: job.stage != "rl")


def _check_names(settings: ConfigDict, names: list[str]) -> None:
    """Refuses names that no arm or split has; controls need an arm whose seconds they take."""
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
    """The config of one run: the base's with the arm's overrides, at an equal number of queries.

    An RL run ranks `compare.queries` answers in steps of `compare.answers` (prompts x group size).
    An SFT control takes `seconds`, in a flat schedule on all questions.

    Raises:
      UserError: the result breaks a rule of the config.
    """
    settings = config.compare
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict(dict(job.overrides))
    changed.seed = job.seed
    if job.stage == "rl":
        changed.rl.batch_size = settings.answers // changed.rl.group_size
        if changed.rl.algorithm == "ppo":  # whole minibatches
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
    """The config that runs are evaluated with: `compare.evaluate_with` over the run's own.

    Raises:
      UserError: the result breaks a rule of the config.
    """
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict(dict(config.compare.evaluate_with))
    rules.validate(changed)
    return changed.lock()

"""The line that a stage ends with: what was trained, how good it is, where it is, what is next."""

import logging
import os
import re
import shlex

from orl_jax.run import overrides
from orl_jax.run.metrics import read_metrics

_ACCURACY = "validation/accuracy"
_AS_ORACLE = (
    "scripts/train_rl.py {flags} --config.oracle.name={name} --config.oracle.checkpoint={path}"
)
_ORACLES = ("reward", "oracle")
_NEXT = {
    "vision": "scripts/train_sft.py {flags} --config.sft.init_from={path}",
    "sft": "scripts/train_rl.py {flags}",
    "reward": _AS_ORACLE.replace("{name}", "reward"),
    "oracle": _AS_ORACLE.replace("{name}", "ranker"),
    "rl": "scripts/evaluate.py --checkpoint={path} --workdir={workdir}/evaluation",
}


def log_end(
    workdir: str, stage: str, section: str, *, start: int, step: int, seconds: float
) -> None:
    """Logs the line.

    Args:
      workdir: of the run.
      stage: its name.
      section: of the config, which has the stage's length.
      start: the step that this process began with; equal to `step` where nothing was left to do.
      step: the last one.
      seconds: spent on the stage, over all its sessions.
    """
    path = os.path.join(workdir, "checkpoints", stage)
    if start == step and step:
        done = f"{stage} is finished at step {step}; a larger {section}.steps continues it"
    else:
        done = f"{stage} is trained: steps {start + 1} to {step}, {seconds:.0f} s in all"
    rows = [row for row in read_metrics(workdir, stage) if _ACCURACY in row]
    accuracy = f"; validation accuracy {rows[-1][_ACCURACY]:.1%}" if rows else ""
    logging.info("%s%s; checkpoint %s%s", done, accuracy, path, _next(workdir, stage, path))


def _next(workdir: str, stage: str, path: str) -> str:
    """With the flags of this command, as far as the next script reads them."""
    if stage not in _NEXT:
        return ""
    script = re.search(r"scripts/(\w+)", _NEXT[stage])[1]
    given = shlex.join(overrides.flags_for(script))
    flags = f"{given or '--config=…'} --workdir={shlex.quote(workdir)}"
    if stage in _ORACLES and os.path.isdir(os.path.join(workdir, "checkpoints", "rl")):
        base = os.path.join(workdir, "checkpoints", "sft")  # RL there has another Oracle
        flags = f"{given or '--config=…'} --workdir={shlex.quote(f'{workdir}-{stage}')}"
        flags += f" --config.rl.init_from={shlex.quote(base)}"
    command = _NEXT[stage].format(flags=flags, path=path, workdir=workdir)
    return f"; next: python {command}"

"""Whether a config fits in the memory of its devices, before any weights exist.

    python scripts/plan_memory.py --config=configs/video_llama2_7b.py:4xh100

Takes minutes on a CPU and needs neither GPU nor weights nor data. The exit status is 1 where the
config does not fit. docs/scaling.md explains the table.
"""

import pathlib
from collections.abc import Iterable, Sequence

from absl import flags
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.run import cli
from orl_jax.run.disk import naming
from orl_jax.run.errors import Failure, UserError

TARGET = flags.DEFINE_string(
    "target", "auto", "h100 | cpu; auto is h100 where JAX's CUDA plugin is installed."
)
DEVICES = flags.DEFINE_integer(
    "devices", 0, "How many; 0 takes the number of config.mesh, where -1 counts as 1."
)
MEMORY = flags.DEFINE_float("memory", 80.0, "Of each device, GB (10^9 bytes).")
VOCABULARY = flags.DEFINE_integer(
    "vocabulary",
    32002,
    "Number of tokens, if the config's tokenizer is not available; LLaMA's and two.",
)
STEPS = flags.DEFINE_list("steps", [], "Some of the steps, separated by commas; by default all.")
TOP = flags.DEFINE_integer("top", 8, "Arrays to show for each step.")
JSON = flags.DEFINE_string("json", None, "A file to also write the whole plan to.")


def main(config: ConfigDict, _: str) -> None:
    """Prints the plan.

    Raises:
      Failure: it does not fit.
    """
    _check_flags()
    from orl_jax.performance.plan import (
        plan as plans,  # jax starts with the devices that the flags say
    )
    from orl_jax.performance.plan.table import render

    plan = plans.make_plan(
        config,
        target=TARGET.value,
        devices=DEVICES.value,
        memory=round(MEMORY.value * 1e9),
        vocabulary=VOCABULARY.value,
        only=STEPS.value,
        progress=_bar,
    )
    print(render(plan, TOP.value))
    if JSON.value:
        with naming(JSON.value):
            pathlib.Path(JSON.value).write_text(plan.to_json() + "\n")
    if not plan.fits:
        raise Failure(f"{plan.peak.name} does not fit")


def _bar(names: Sequence[str]) -> Iterable[str]:
    with tqdm(names, unit="step") as bar:
        for name in bar:
            bar.set_description(f"compiling {name}")
            yield name


def _check_flags() -> None:
    for flag, low in ((DEVICES, 0), (TOP, 0), (VOCABULARY, 3)):
        if flag.value < low:
            raise UserError(f"--{flag.name}={flag.value}; it must be at least {low}")
    if not 0 < MEMORY.value < float("inf"):
        raise UserError(f"--memory={MEMORY.value:g}; it must be positive, in GB")
    if JSON.value and not pathlib.Path(JSON.value).absolute().parent.is_dir():
        raise UserError(f"--json={JSON.value}: its folder does not exist; make it first")


if __name__ == "__main__":
    cli.run(main, default_workdir="runs")

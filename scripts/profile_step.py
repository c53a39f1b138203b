r"""Where the time of an RL step goes: a few real steps under JAX's profiler, and a summary.

    python scripts/profile_step.py --config=configs/demo.py --workdir=runs/profile \
        --checkpoint=runs/demo/checkpoints/sft --steps=3

Writes only to WORKDIR/trace: the trace, `summary.md` and `summary.json`; no checkpoints and no
metrics. docs/performance.md explains how to read them and how to view the trace.
"""

import logging
import pathlib

from absl import flags
from ml_collections import ConfigDict

from orl_jax.run import cli
from orl_jax.run.files import write_atomic

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "Where to start; by default config.rl.init_from, or WORKDIR/checkpoints/sft."
)
STEPS = flags.DEFINE_integer("steps", 3, "Steps to trace.")
WARMUP = flags.DEFINE_integer(
    "warmup", 3, "Steps before the traced ones, in which functions compile."
)
TOP = flags.DEFINE_integer("top", 15, "Operations to show.")


def main(config: ConfigDict, workdir: str) -> None:
    """Records, then writes and prints the summary."""
    import jax

    from orl_jax.performance.profiling import page, recording, summary, trace

    recorded = recording.record(
        config, workdir, base=CHECKPOINT.value, steps=STEPS.value, warmup=WARMUP.value
    )
    found = summary.summarise(
        trace.read(recorded.path), recorded.sources, recorded.compiled,
        platform=f"{jax.device_count()} x {jax.devices()[0].device_kind}", top=TOP.value,
    )  # fmt: skip
    folder = pathlib.Path(workdir) / recording.FOLDER
    text = page.render(found)
    write_atomic(folder / "summary.md", text)
    write_atomic(folder / "summary.json", found.to_json() + "\n")
    print(text)
    logging.info("trace: %s", recorded.path)


if __name__ == "__main__":
    cli.run(main)

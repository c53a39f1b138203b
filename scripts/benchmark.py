"""How fast a config's RL step is, where the time goes, what a shared prompt saves; peers.

    python scripts/benchmark.py --config=configs/demo.py --workdir=runs/benchmark
    python scripts/benchmark.py --config=configs/demo.py --workdir=runs/benchmark --only=prefix
    python scripts/benchmark.py --config=configs/imported.py --workdir=runs/benchmark --peer=trl

Needs neither data nor weights: parameters and batches are random. Writes benchmark.json,
benchmark.md and benchmark.png; docs/performance.md explains them.
"""

import os

from absl import flags
from ml_collections import ConfigDict, config_flags

from orl_jax.run import cli
from orl_jax.run.errors import UserError

ONLY = flags.DEFINE_list(
    "only",
    [],
    "stages | prefix | vocabulary, separated by commas; by default stages.",
)
STAGES = flags.DEFINE_list(
    "stages", [], "video, encode, prefill, decode, rollout, score, update, step; by default all."
)
CURVES = flags.DEFINE_list(
    "curves",
    [],
    "frames | group | response | prefix | prompts, separated by commas; by default none.",
)
PEER = flags.DEFINE_string("peer", "", "trl | tunix: compare one whole GRPO step with theirs.")
PEER_PYTHON = flags.DEFINE_string("peer_python", "", "The Python of an environment that has Tunix.")
SIZES = flags.DEFINE_string(
    "sizes", "", "Of --peer: NAME=NUMBER, separated by commas, such as prompts=2,prompt=800."
)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timings of each kind, after a warm-up.")
VOCABULARY = flags.DEFINE_integer(
    "vocabulary",
    32002,
    "Number of tokens, if the config's tokenizer is not available; LLaMA's and two.",
)
CLIP = flags.DEFINE_string("clip", "", "A video file to decode; by default one is written.")


def main(config: ConfigDict, workdir: str) -> None:
    """Measures and prints the table."""
    for flag, low in ((REPEATS, 1), (VOCABULARY, 8)):
        if flag.value < low:
            raise UserError(f"--{flag.name}={flag.value}; it must be at least {low}")
    if CLIP.value and not os.path.isfile(CLIP.value):
        raise UserError(f"--clip={CLIP.value}: there is no such file")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the libraries that ask the hub
    from orl_jax.performance.benchmark.benchmark import Request, run
    from orl_jax.performance.benchmark.peer_model import Sizes

    request = Request(
        source=config_flags.get_config_filename(flags.FLAGS["config"]),
        parts=tuple(ONLY.value),
        stages=tuple(STAGES.value),
        curves=tuple(CURVES.value),
        peer=PEER.value,
        peer_python=PEER_PYTHON.value,
        sizes=Sizes.parse(SIZES.value),
        repeats=REPEATS.value,
        vocabulary=VOCABULARY.value,
        clip=CLIP.value,
    )
    run(config, workdir, request)


if __name__ == "__main__":
    cli.run(main, default_workdir="runs/benchmark")

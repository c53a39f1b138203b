r"""Builds the data set of a config: the embedded world with its tokenizer, or a benchmark.

    python scripts/prepare_data.py --config=configs/demo.py
    python scripts/prepare_data.py --config=configs/demo.py --config.source.name=msvd_qa \
        --config.source.folder=FOLDER --config.data.folder=data/msvd [--check]
"""

from absl import flags
from ml_collections import ConfigDict

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.check import check, report
from orl_jax.data.prepare import prepare
from orl_jax.run import cli

CHECK = flags.DEFINE_bool(
    "check", False, "Build nothing; count items, open every video, look for duplicates and leaks."
)


def main(config: ConfigDict, workdir: str) -> None:
    """Builds in `config.data.folder`, or finds what is already there; or checks."""
    if CHECK.value:
        report(check(BenchmarkSource.of(config.source), config.data.folder))
    else:
        prepare(config)


if __name__ == "__main__":
    cli.run(main, script="prepare_data", default_workdir=".")

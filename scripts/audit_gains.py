r"""Compares what audits said about several Oracles with what training by them gained.

    python scripts/audit_gains.py --start=runs/start/results.json --output=gains.png \
        --oracle=rule,runs/audit-rule/audit.json,runs/rule/evaluation/results.json \
        --oracle=ranker,runs/audit-ranker/audit.json,runs/ranker/evaluation/results.json

Each --oracle is NAME,AUDIT,EVALUATION with the files that scripts/audit_oracle.py and
scripts/evaluate.py wrote. Prints a table and draws a picture.
"""

from absl import flags
from ml_collections import ConfigDict

from orl_jax.oracles.audit.gains import draw_gains, gain_table, read_point, read_start
from orl_jax.run import cli
from orl_jax.run.errors import UserError

START = flags.DEFINE_string(
    "start", None, "results.json of the checkpoint that training began from."
)
ORACLES = flags.DEFINE_multi_string("oracle", [], "NAME,AUDIT,EVALUATION; one for each Oracle.")
OUTPUT = flags.DEFINE_string("output", "gains.png", "The picture.")


def main(config: ConfigDict, workdir: str) -> None:
    """Reads the files, prints, draws."""
    if not START.value or not ORACLES.value:
        raise UserError("give --start=FILE and --oracle=NAME,AUDIT,EVALUATION; see --help")
    parts = [value.split(",") for value in ORACLES.value]
    if bad := next(
        (value for value, p in zip(ORACLES.value, parts, strict=True) if len(p) != 3), 0
    ):
        raise UserError(f"--oracle={bad} is not NAME,AUDIT,EVALUATION")
    start = read_start(START.value)
    points = [read_point(*part, start) for part in parts]
    print(gain_table(points))
    draw_gains(points, OUTPUT.value)
    print(f"\nThe start has {100 * start:.1f}. The picture is {OUTPUT.value}.")


if __name__ == "__main__":
    cli.run(main, default_config="configs/demo.py", default_workdir=".", script="audit_gains")

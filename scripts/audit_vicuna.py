r"""PeerConnection the Vicuna benchmark's answers and GPT-4's reviews into groups for an audit.

    python scripts/audit_vicuna.py --folder=vicuna80 --output=vicuna80/groups.jsonl
    python scripts/audit_oracle.py --config=configs/demo.py --workdir=runs/audit-vicuna80 \
        --config.audit.groups=vicuna80/groups.jsonl --config.audit.truth=recorded

The folder is `table` of https://github.com/lm-sys/vicuna-blog-eval, or holds its question.jsonl,
answer_MODEL.jsonl and review_MODEL_vicuna-13b.jsonl side by side. How groups are made of them is
described in orl_jax/oracles/audit/vicuna.py.
"""

import pathlib

from absl import flags
from ml_collections import ConfigDict

from orl_jax.oracles.audit.vicuna import vicuna_groups
from orl_jax.oracles.groups import to_row
from orl_jax.run import cli
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json_lines

FOLDER = flags.DEFINE_string("folder", None, "Where question.jsonl and the answers are.")
OUTPUT = flags.DEFINE_string("output", None, "The file of groups to write.")


def main(config: ConfigDict, workdir: str) -> None:
    """Writes `--output`."""
    for flag, example in ((FOLDER, "vicuna80"), (OUTPUT, "groups.jsonl")):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing; for example --{flag.name}={example}")
    groups = vicuna_groups(FOLDER.value)
    path = pathlib.Path(OUTPUT.value)
    write_json_lines(path, (to_row(*group) for group in groups))
    ordered = sum(group.ranking.valid for group in groups)
    print(f"{len(groups)} groups, {ordered} with an order, are in {path}")


if __name__ == "__main__":
    cli.run(main, default_config="configs/demo.py", default_workdir=".", script="audit_vicuna")

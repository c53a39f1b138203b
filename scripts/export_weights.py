"""Writes a checkpoint's language model for Hugging Face, or its LoRA adapters for PEFT.

    python scripts/export_weights.py --checkpoint=runs/demo/checkpoints/rl --output=out
    python scripts/export_weights.py --checkpoint=runs/demo/checkpoints/rl --output=out --form=peft

The model's configuration and its tokenizer are the checkpoint's. docs/weights.md describes the
forms. No `--workdir` is needed: only `--output` is written.
"""

from absl import flags
from ml_collections import ConfigDict

from orl_jax.run import cli
from orl_jax.run.errors import UserError
from orl_jax.run.rules import DTYPES
from orl_jax.weights.exporting import FORMS, Request, export

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "WORKDIR/checkpoints/STAGE[/STEP].")
OUTPUT = flags.DEFINE_string("output", None, "A new folder.")
FORM = flags.DEFINE_enum(
    "form", "merged", FORMS,
    "merged: the language model with its adapters merged; base: without them; peft: the LoRA "
    "adapters only; adapter: the module between vision tower and language model.",
)  # fmt: skip
DTYPE = flags.DEFINE_enum("dtype", None, DTYPES, "Type of the numbers; by default as stored.")
BASE = flags.DEFINE_string("base", "", "Name or folder of the base model, for PEFT.")
TOKENIZER = flags.DEFINE_string("tokenizer", "", "Its folder, if it has moved since training.")
SHARD_GB = flags.DEFINE_float(
    "max_shard_gb", 4.0, "Largest file of a language model, in 1e9 bytes."
)
_EXAMPLES = {"checkpoint": "runs/demo/checkpoints/rl", "output": "runs/demo/language"}


def main(config: ConfigDict, workdir: str) -> None:
    """Writes `--checkpoint` to `--output`."""
    for flag in (CHECKPOINT, OUTPUT):
        if not flag.value:
            raise UserError(
                f"--{flag.name} is missing; for example --{flag.name}={_EXAMPLES[flag.name]}"
            )
    if not SHARD_GB.value > 0:
        raise UserError(f"--max_shard_gb={SHARD_GB.value}; it must be positive")
    request = Request(
        FORM.value, DTYPE.value or "", BASE.value, TOKENIZER.value, SHARD_GB.value * 1e9
    )
    folder = export(CHECKPOINT.value, OUTPUT.value, request)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>14,}  {path}")


if __name__ == "__main__":
    cli.run(main, default_config="configs/demo.py", default_workdir=".", script="export_weights")

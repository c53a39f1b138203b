r"""Scores a file of predictions, as scripts/evaluate.py writes them; needs no checkpoint.

    python scripts/score.py --protocol=text \
        --predictions=runs/mine/evaluation/predictions/rl_test.jsonl

Writes `scores.json` next to the file (docs/evaluation.md says what each protocol counts). The same
command resumes a run that was stopped; a judge is asked nothing twice.
"""

import os
import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from orl_jax.evaluation.scoring.generation import DEFAULT
from orl_jax.evaluation.scoring.judging import Settings
from orl_jax.evaluation.scoring.predictions import read_predictions
from orl_jax.evaluation.scoring.protocols import JUDGED, PROTOCOLS, Protocol, comparison, score
from orl_jax.evaluation.scoring.submission import write_submission
from orl_jax.evaluation.scoring.table import comparison_table, table
from orl_jax.run import cli
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json
from orl_jax.run.overrides import refuse_all
from orl_jax.run.reading import read_json

PREDICTIONS = flags.DEFINE_string("predictions", None, "A file of predictions.")
PROTOCOL = flags.DEFINE_string("protocol", "text", f"{' | '.join(PROTOCOLS)}.")
AGAINST = flags.DEFINE_string(
    "against", None, "Another file of predictions, to compare item by item."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Where scores are written; by default scores.json next to the file."
)
DIMENSIONS = flags.DEFINE_list(
    "dimensions", list(DEFAULT), "Of --protocol=generation, separated by commas."
)
OFFICIAL_BUGS = flags.DEFINE_bool(
    "official_bugs",
    False,
    "Of --protocol=generation: consistency sends the first question twice, as the official script.",
)
SUBMISSION = flags.DEFINE_string(
    "submission", None, "A file to also write in Video-MME's own form."
)


def main(config: ConfigDict, workdir: str) -> None:
    """Scores `--predictions` by `--protocol`, prints, writes."""
    if not PREDICTIONS.value:
        raise UserError("--predictions is missing; give a file that scripts/evaluate.py wrote")
    if PROTOCOL.value not in JUDGED:
        refuse_all(f"with --protocol={PROTOCOL.value}, which asks no judge")
    path = pathlib.Path(PREDICTIONS.value)
    output = pathlib.Path(OUTPUT.value or path.with_name("scores.json"))
    earlier = _read(output)
    if SUBMISSION.value:
        write_submission(SUBMISSION.value, read_predictions(path))
    protocol = Protocol(
        PROTOCOL.value,
        Settings.of(config.judge),
        tuple(DIMENSIONS.value),
        OFFICIAL_BUGS.value,
    )
    scored = score(path, protocol, progress=True)
    summary = scored.summary()
    print(table(summary))
    if AGAINST.value:
        found = comparison(scored, score(AGAINST.value, protocol, progress=True))
        summary["against"] = {AGAINST.value: found}
        print(f"\nagainst {AGAINST.value}:\n{comparison_table(found)}")
    earlier.setdefault(path.name, {})[PROTOCOL.value] = summary
    write_json(output, earlier)
    print(f"scores are in {output}")


def _read(path: pathlib.Path) -> dict[str, Any]:
    """Scores of other files and protocols, which are kept."""
    if not os.path.exists(path):
        return {}
    found = read_json(path, "choose another --output", object)
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise UserError(f"{path} holds no scores; choose another --output")
    return found


if __name__ == "__main__":
    cli.run(main, default_config="configs/demo.py", default_workdir=".", script="score")

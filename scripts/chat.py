r"""Asks a checkpoint about a video file.

    python scripts/chat.py --checkpoint=runs/demo/checkpoints/rl --video=clip.mp4 \
        --question="What does the red circle do?"

Streams the answer to standard output. Without --question it asks for questions, or reads one per
line from a pipe: /video PATH changes the clip; /quit, an empty line or the end of input ends it.
--samples=5 draws five answers instead; with --oracle they are shown in the Oracle's order.

The configuration is the checkpoint's; --config.section.key=value overrides a key of it.
"""

import math
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.video import ClipFormat
from orl_jax.evaluation.chat import Chat, converse, read_clip
from orl_jax.evaluation.ranked_answers import answer_table, by_log_prob, by_oracle, check_reference
from orl_jax.models.assembly import restore, stored_config
from orl_jax.oracles import Oracle, make_oracle
from orl_jax.rl.score_oracle import TRAINED, device_oracles
from orl_jax.run import cli
from orl_jax.run.command_line import overridden
from orl_jax.run.config import keys
from orl_jax.run.errors import UserError
from orl_jax.run.rules import LONGEST

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "WORKDIR/checkpoints/STAGE[/STEP].")
VIDEO = flags.DEFINE_string("video", None, "A video file.")
QUESTION = flags.DEFINE_string(
    "question", None, "One question; by default they are read from standard input."
)
MAX_TOKENS = flags.DEFINE_integer(
    "max_tokens", None, "Most tokens of an answer; by default the checkpoint's.", lower_bound=1,
    upper_bound=LONGEST,
)  # fmt: skip
TEMPERATURE = flags.DEFINE_float(
    "temperature", None, "Of sampling; by default 0 (greedy), with --samples 1.", lower_bound=0
)
SEED = flags.DEFINE_integer("seed", 0, "Of sampling.", lower_bound=0)
SAMPLES = flags.DEFINE_integer("samples", 0, "Answers to draw; 0 streams one.", lower_bound=0)
ORACLE = flags.DEFINE_string("oracle", "", "Who orders the answers, e.g. reference.")
REFERENCE = flags.DEFINE_string("reference", "", "The right answer, for --oracle=reference.")
ORACLE_CHECKPOINT = flags.DEFINE_string(
    "oracle_checkpoint", "", "The checkpoint of --oracle=reward or ranker."
)

EXAMPLES = {"checkpoint": "runs/demo/checkpoints/rl", "video": "clip.mp4"}


def main(config: ConfigDict, workdir: str) -> None:
    """Answers `--question`, or the questions on standard input."""
    _check_flags()
    settings = stored_config(CHECKPOINT.value).unlock()
    known = set(keys(settings))  # shared sections belong to newer configs only
    settings.update_from_flattened_dict({k: v for k, v in overridden().items() if k in known})
    oracle = _oracle(settings) if ORACLE.value else None
    clip_format = ClipFormat.of(settings.data)
    clip = read_clip(VIDEO.value, clip_format)  # before the model, as it fails sooner
    chat = Chat(
        *restore(settings, CHECKPOINT.value), seed=SEED.value, temperature=_temperature(),
        max_tokens=MAX_TOKENS.value or settings.rl.max_response_tokens,
    )  # fmt: skip
    chat.watch(clip)
    respond = partial(_show_samples, chat, oracle) if SAMPLES.value else chat.say
    if QUESTION.value is not None:
        respond(QUESTION.value)
    else:
        converse(_lines(), respond, lambda path: chat.watch(read_clip(path, clip_format)))


def _check_flags() -> None:
    for flag in (CHECKPOINT, VIDEO):
        if not flag.value:
            raise UserError(
                f"--{flag.name} is missing; for example --{flag.name}={EXAMPLES[flag.name]}"
            )
    if not math.isfinite(_temperature()):
        raise UserError(f"--temperature={TEMPERATURE.value}; it must be a number, 0 for greedy")
    if QUESTION.value is not None and not QUESTION.value.strip():
        raise UserError("--question is empty; leave it out to be asked for questions")
    if ORACLE.value and not SAMPLES.value:
        raise UserError(f"--oracle={ORACLE.value} puts several answers in order; add --samples=5")
    if REFERENCE.value and not (ORACLE.value and QUESTION.value):
        raise UserError("--reference is the right answer to --question, for --oracle; give both")
    if ORACLE.value:
        check_reference(ORACLE.value, REFERENCE.value)


def _temperature() -> float:
    if TEMPERATURE.value is None:
        return 1.0 if SAMPLES.value else 0.0
    return TEMPERATURE.value


def _oracle(settings: ConfigDict) -> Oracle:
    section: dict[str, Any] = {"name": ORACLE.value, "checkpoint": ORACLE_CHECKPOINT.value}
    if ORACLE.value in TRAINED and not ORACLE_CHECKPOINT.value:
        raise UserError(
            f"--oracle={ORACLE.value} is a trained model, for example "
            f"--oracle_checkpoint=runs/demo/checkpoints/{TRAINED[ORACLE.value].stage}"
        )
    data = settings.data
    on_device = device_oracles(data.folder, FrameCache(data.cache_mb), dict(settings.mesh))
    return make_oracle(section, on_device)


def _show_samples(chat: Chat, oracle: Oracle | None, question: str) -> None:
    answers = chat.sample(question, SAMPLES.value)
    if oracle is None:
        print(answer_table(by_log_prob(answers)), flush=True)
    else:
        ranked = by_oracle(oracle, answers, question, chat.video, REFERENCE.value)
        print(answer_table(ranked), flush=True)


def _lines() -> Iterator[str]:
    """Lines of standard input; a person gets a prompt, on standard error."""
    sys.stdin.reconfigure(errors="replace")
    mark, end = ("> ", "\n") if sys.stdin.isatty() else ("", "")
    while True:
        print(mark, end="", file=sys.stderr, flush=True)
        try:
            yield input()
        except EOFError:
            print(end, end="", file=sys.stderr)
            return


if __name__ == "__main__":
    cli.run(
        main,
        default_config="configs/demo.py",
        default_workdir=".",
        script="chat",
    )

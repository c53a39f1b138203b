"""What each script reads of a configuration, by the script's name.

`orl_jax.run.effects` refuses overrides by this table, and docs/settings.md shows it to users.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_VIDEOS = tuple(
    f"data.{key}"
    for key in (
        "folder", "tokenizer", "frames", "image_size", "framing", "prompt_tokens",
        "response_tokens", "workers", "bad_video", "cache_mb",
    )
)  # fmt: skip
_LOADING = ("workers", "bad_video", "cache_mb")
# Of one run, whatever the stage: a checkpoint keeps them, and its successors need the same.
_MODEL = (*_VIDEOS, "model", "mesh")
_FIRST = "a validation takes the first evaluation.validation_items items"
_VALIDATION = {f"evaluation.{key}": _FIRST for key in ("max_items", "stratify", "seed")}
_ONLY_RL = dict.fromkeys(("halt_above", "pause_seconds", "overlap", "lag"), "only RL reads it")
_OF_JOBS = "compare.queries and compare.answers give every arm its length and batch"
_START = "compare.start is where every arm begins"


class Script(NamedTuple):
    """What a script reads.

    Attributes:
      reads: keys and sections of the configuration.
      but: of these, the keys and sections that it does not read, and why.
    """

    reads: tuple[str, ...]
    but: Mapping[str, str] = MappingProxyType({})


SCRIPTS: dict[str, Script] = {
    "prepare_data": Script(
        ("data.folder", "data.tokenizer", "data.workers", "data.scenes", "data.descriptions",
         "source")
    ),
    "train_vision": Script((*_MODEL, "seed", "data.scenes.frames", "vision", "checkpoint")),
    "train_sft": Script(
        (*_MODEL, "seed", "sft", "checkpoint", "evaluation", "rl.temperature", "rl.top_k",
         "rl.top_p", "rl.min_p", "rl.max_response_tokens"),
        _VALIDATION,
    ),
    "make_preferences": Script(
        (*_MODEL, "preferences", "rl.max_response_tokens"),
        {
            "seed": "preferences.seed draws prompts and answers",
            **{f"preferences.oracle.{key}": why for key, why in _ONLY_RL.items()},
        },
    ),
    "train_reward": Script((*_MODEL, "seed", "reward", "checkpoint", "rl.max_response_tokens")),
    "train_oracle": Script(
        (*_MODEL, "seed", "ranker", "checkpoint", "rl.max_response_tokens", "oracle.tie_margin")
    ),
    "train_rl": Script(
        (*_MODEL, "seed", "data.features", "rl", "oracle", "monitors", "checkpoint", "evaluation"),
        _VALIDATION,
    ),
    "demo": Script(
        (*_MODEL, "seed", "data.scenes", "data.descriptions", "data.features", "source", "vision",
         "sft", "rl", "oracle", "monitors", "control", "checkpoint", "evaluation"),
        {"sft.init_from": "the demo's SFT begins from its own vision checkpoint"},
    ),
    "compare": Script(
        (*_MODEL, "data.features", "sft", "rl", "oracle", "monitors", "control", "checkpoint",
         "evaluation", "compare"),
        {
            "seed": "compare.seeds has the seeds",
            **dict.fromkeys(("rl.steps", "rl.batch_size"), _OF_JOBS),
            **dict.fromkeys(("rl.init_from", "sft.init_from"), _START),
            **dict.fromkeys(
                ("sft.steps", "sft.seconds", "sft.curriculum"),
                "a control trains on all questions for as long as compare.control_of",
            ),
        },
    ),
    "audit_oracle": Script(
        ("data.folder", "data.cache_mb", "mesh", "audit", "oracle"),
        {
            "oracle.policy": "an audit counts failures",
            "oracle.served.cache": "an audit asks again what it asks twice",
            "oracle.served.cache_mb": "an audit asks again what it asks twice",
            **{f"oracle.{key}": why for key, why in _ONLY_RL.items()},
        },
    ),
    "evaluate": Script(
        ("data.folder", "data.cache_mb", "evaluation", "mesh"),
        {"evaluation.validation_items": "it counts in training; here evaluation.max_items does"},
    ),
    "score": Script(("judge",)),
    "report_benchmarks": Script(
        ("data.folder", "data.frames", "data.image_size", "data.framing", "judge")
    ),
    "rank_by_hand": Script(("data.folder",)),
    "chat": Script(
        (*(key for key in _VIDEOS if key.rpartition(".")[2] not in _LOADING), "model", "mesh",
         "rl.max_response_tokens")
    ),
    "export_weights": Script(()),
    "audit_gains": Script(()),
    "audit_vicuna": Script(()),
}  # fmt: skip

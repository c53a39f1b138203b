"""What must be the same when a stage is resumed: a run of two settings would be neither.

Compared are the configuration, but for `MAY_CHANGE`, and by content what it names: the tokenizer,
the training data, the checkpoint that the stage began from. Checkpoints of earlier versions, which
lack some of this, are compared in what they have.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from orl_jax.run.checkpoint import BASE, Checkpoints, Location
from orl_jax.run.errors import UserError
from orl_jax.run.rules import ORACLE_MEANS
from orl_jax.run.upgrade import upgrade

# Of any section: how long a stage runs, what it shows, how much memory it takes.
MAY_CHANGE = (
    "steps", "epochs", "seconds", "log_every", "validate_every", "rollouts_every",
    "vocabulary_chunk", "frames_at_a_time", "remat", "unroll",
    *ORACLE_MEANS,
)  # fmt: skip
# Whole keys: where things are, which are compared by content, and how they are read.
PLACES = (
    "data.folder", "data.tokenizer", "data.features", "data.workers", "data.cache_mb",
    "data.bad_video", "data.scenes", "data.descriptions", "model.layers", "rl.init_from",
    "sft.init_from", "reward.init_from", "ranker.init_from",
)  # fmt: skip
SHARED = ("seed", "data", "model")  # sections of every stage
TOKENIZER, ITEMS, VIDEOS = "tokenizer", "items", "videos"


def identity(
    tokenizer: str,
    items: str,
    base: Location | None = None,
    videos: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """What a checkpoint keeps of what it was trained with, next to its configuration.

    Args:
      tokenizer: digest of its content.
      items: digest of the training data.
      base: the checkpoint that the stage began from.
      videos: digests of some videos of the training data by name, of `data.video_sample`.
    """
    where = base.identity if base else None
    return {TOKENIZER: tokenizer, ITEMS: items, BASE: where, VIDEOS: dict(videos)}


def digest(items: Sequence[Mapping[str, Any]]) -> str:
    """Of training data that is in memory; 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(items), default=str).encode()).hexdigest()[:16]


def check_same(
    checkpoints: Checkpoints,
    sections: Sequence[str],
    config: Mapping[str, Any],
    now: Mapping[str, Any] | None = None,
) -> None:
    """Refuses to resume a run with another model, data, algorithm, Oracle, rate or base.

    Args:
      checkpoints: of the stage; there is at least one.
      sections: of the configuration that the stage is trained by, in addition to `SHARED`.
      config: the configuration of now.
      now: what `identity` gives.

    Raises:
      UserError: names the first thing that differs.
    """
    extra = checkpoints.restore_extra()
    stored, folder = upgrade(extra["config"]), checkpoints.folder
    for section in (*sections, *SHARED):
        if section not in stored or section not in config:
            continue
        before, after = ({section: tree[section]} for tree in (stored, config))
        for key, value, other in differences(before, after):
            if not may_change(key, sections, config):
                raise UserError(
                    f"{folder} was trained with {key}={value!r}, the config says {other!r}; choose "
                    "another --workdir"
                )
    _check_identity(folder, extra, dict(now or {}))


def may_change(key: str, sections: Sequence[str], config: Mapping[str, Any]) -> bool:
    """Whether a dotted key may differ when a stage is resumed."""
    if key.rpartition(".")[2] in MAY_CHANGE:
        return True
    if key.startswith("model.lora.") and "vision" in sections:
        return True
    if key.startswith("model.lora.") and "sft" in sections:
        return not config["sft"]["lora"]
    return any(key == place or key.startswith(f"{place}.") for place in PLACES)


def _check_identity(folder: Any, extra: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name, words, remedy in (
        (TOKENIZER, "another tokenizer", "name the same one (data.tokenizer)"),
        (ITEMS, "other training data", "name the same data (data.folder)"),
    ):
        if extra.get(name) and now.get(name) and extra[name] != now[name]:
            raise UserError(
                f"{folder} was trained with {words}, by its content ({extra[name]}, now "
                f"{now[name]}); {remedy}, or choose another --workdir"
            )
    _check_videos(folder, extra.get(VIDEOS) or {}, now.get(VIDEOS) or {})
    before, after = extra.get(BASE), now.get(BASE)
    if before and after and before != after:
        raise UserError(
            f"{folder} began from {_shown(before)} ({extra.get('base')}), init_from now means "
            f"{_shown(after)}; name the former with its step (…/{before['stage']}/"
            f"{before['step']}), or choose another --workdir"
        )


def _check_videos(folder: Any, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Of the videos that could be read both times, none may have changed."""
    changed = [name for name in before if now.get(name, before[name]) != before[name]]
    if changed:
        raise UserError(
            f"{folder} was trained with other videos: {changed[0]} has changed since, and "
            f"{len(changed) - 1} more of the {len(before)} that are compared; put the former back, "
            "or choose another --workdir"
        )


def _shown(base: Mapping[str, Any]) -> str:
    return f"{base['stage']} step {base['step']} of {base['digest'] or base['stamp']}"


def differences(
    stored: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys that both have, with values that differ; a key that one lacks is a new one."""
    for key, value in stored.items():
        other = now.get(key, value)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from differences(value, other, f"{prefix}{key}.")
        elif other != value:
            yield f"{prefix}{key}", value, other

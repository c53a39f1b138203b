"""Which settings have an effect: in which scripts, and under which other settings.

`command_line.refuse_unused` refuses overrides by these tables, as they would do nothing;
docs/settings.md shows them to users. A configuration file may set whatever it likes: its sections
are complete, and it serves all scripts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from orl_jax.run.scripts import SCRIPTS


class Need(NamedTuple):
    """What another key must be: one of `values`, or, without these, none of `excluded`."""

    key: str
    values: tuple[Any, ...] = ()
    excluded: tuple[Any, ...] = ()


class Named(NamedTuple):
    """The Oracle of a section is one of `names`, wraps one, or has one as a member."""

    section: str
    names: tuple[str, ...]


class Condition(NamedTuple):
    """Keys, or sections, that have an effect only where all of `needs` hold.

    Attributes:
      keys: of the configuration.
      needs: see `Need` and `Named`.
      scripts: in which this counts; none is in all.
    """

    keys: tuple[str, ...]
    needs: tuple[Need | Named, ...]
    scripts: tuple[str, ...] = ()


WORLDS = ("shapes", "describe")  # the embedded ones, which are drawn and not read
WRAPPERS = ("noisy", "reversed", "top", "coarse", "delayed", "distorted")
# Key of an Oracle's section -> the Oracles that read it.
ORACLE_KEYS = {
    "members": ("ensemble",), "quorum": ("ensemble",), "inner": WRAPPERS,
    "swap_probability": ("noisy",), "invalid_probability": ("noisy",), "top_k": ("top",),
    "levels": ("coarse",), "delay_seconds": ("delayed",), "distortion": ("distorted",),
    "scales": ("graded",), "checkpoint": ("ranker", "reward"), "tie_margin": ("ranker",),
    "recorded": ("recorded",), "seed": ("noisy", "top", "distorted", "served"),
    "served": ("served",), "embedding": ("embedding",),
}  # fmt: skip
POOLED = (
    "queries", "width", "layers", "heads", "mlp_width", "cross_frequency", "norm_epsilon",
    "time_embedding", "feature_norm", "exact_gelu", "remat",
)  # fmt: skip


SAMPLED = ("rl.temperature", "rl.top_k", "rl.top_p", "rl.min_p")


def _of_oracle(section: str, *scripts: str) -> tuple[Condition, ...]:
    return (
        *(
            Condition((f"{section}.{key}",), (Named(section, names),), scripts)
            for key, names in ORACLE_KEYS.items()
        ),
        Condition((f"{section}.pause_seconds",), (Need(f"{section}.halt_above", (), (1.0,)),)),
        Condition((f"{section}.overlap",), (Need(f"{section}.lag", (0,)),)),
        Condition((f"{section}.served.frame_size",), (Need(f"{section}.served.frames", (), (0,)),)),
        Condition((f"{section}.served.cache_mb",), (Need(f"{section}.served.cache", (), ("",)),)),
    )


CONDITIONS: tuple[Condition, ...] = (
    Condition(("rl.ppo",), (Need("rl.algorithm", ("ppo",)),)),
    Condition(("rl.grpo",), (Need("rl.algorithm", ("grpo",)),)),
    Condition(("rl.advantage",), (Need("rl.algorithm", ("grpo_rank",)),)),
    Condition(("rl.advantage.mix",), (Need("rl.advantage.form", ("signed",)),)),
    Condition(
        ("rl.advantage.discount", "rl.advantage.predicted"),
        (Need("rl.advantage.form", ("signed", "printed")),),
    ),
    Condition(("rl.direct",), (Need("rl.algorithm", ("direct",)),)),
    Condition(("rl.direct.beta",), (Need("rl.direct.loss", (), ("best_of",)),)),
    Condition(
        ("rl.kl_coefficient", "rl.kl_estimator", "rl.normalisation", "rl.minibatches"),
        (Need("rl.algorithm", ("grpo_rank", "grpo", "direct")),),
    ),
    Condition(
        ("rl.clip_dual", "rl.importance_cap"), (Need("rl.algorithm", ("grpo_rank", "grpo")),)
    ),
    Condition(
        ("rl.clip_low", "rl.clip_high", "rl.truncated"), (Need("rl.algorithm", (), ("direct",)),)
    ),
    Condition(("rl.steps",), (Need("rl.epochs", (0,)),)),
    *_of_oracle("oracle", "train_rl", "demo", "audit_oracle"),
    *_of_oracle("preferences.oracle"),
    Condition(("judge.cache_mb",), (Need("judge.cache", (), ("",)),)),
    Condition(("monitors.type_fall",), (Need("rl.validate_every", (), (0,)),)),
    Condition(("evaluation",), (Need("rl.validate_every", (), (0,)),), ("train_rl",)),
    Condition(
        ("evaluation", *SAMPLED, "rl.max_response_tokens"),
        (Need("sft.validate_every", (), (0,)),),
        ("train_sft",),
    ),
    Condition(("evaluation.samples",), (Need("evaluation.choice", ("letter",)),)),
    Condition(
        SAMPLED,
        (Need("evaluation.choice", ("letter",)), Need("evaluation.samples", (), (0,))),
        ("train_sft",),
    ),
    Condition(
        ("rl.max_response_tokens",),
        (Need("evaluation.choice", ("letter",)), Need("evaluation.response_tokens", (0,))),
        ("train_sft",),
    ),
    Condition(("evaluation.stratify",), (Need("evaluation.max_items", (), (0,)),)),
    Condition(("evaluation.seed",), (Need("evaluation.stratify", (), ("",)),)),
    Condition(
        ("audit.min_tau", "audit.min_pair_accuracy", "audit.min_top1"),
        (Need("audit.truth", (), ("none",)),),
    ),
    Condition(("audit.min_transitive",), (Need("audit.pairs", (), (0,)),)),
    Condition(("audit.min_self_tau",), (Need("audit.shuffles", (), (1,)),)),
    Condition(("audit.price",), (Named("oracle", ("served",)),)),
    Condition(
        tuple(f"model.adapter.{key}" for key in POOLED),
        (Need("model.adapter.name", ("qformer",)),),
    ),
    *(
        Condition(
            (f"model.{part}.quantisation_block",),
            (Need(f"model.{part}.quantisation", (), ("none",)),),
        )
        for part in ("vision", "adapter", "language")
    ),
    Condition(
        ("model.language.rope_factor",),
        (Need("model.language.rope_scaling", ("linear", "llama3")),),
    ),
    Condition(
        tuple(
            f"model.language.rope_{key}"
            for key in ("low_frequency", "high_frequency", "original_length")
        ),
        (Need("model.language.rope_scaling", ("llama3",)),),
    ),
    Condition(
        tuple(
            f"source.{key}" for key in ("folder", "videos", "missing_videos", "validation_share")
        ),
        (Need("source.name", (), WORLDS),),
    ),
    Condition(("data.scenes", "data.workers"), (Need("source.name", WORLDS),), ("prepare_data",)),
    Condition(("data.descriptions",), (Need("source.name", ("describe",)),)),
    Condition(("data.tokenizer",), (Need("source.name", (), WORLDS),), ("prepare_data",)),
)
WITHOUT_CONDITIONS = ("compare",)  # its arms change algorithms and Oracles
Lookup = Callable[[str], Any]  # of a dotted key: its value; None where it is missing


def reads(script: str, key: str) -> bool:
    """Whether a script reads a key in some mode.

    Example: `reads("train_rl", "rl.ppo.gamma")`, `not reads("train_sft", "rl.steps")`.
    """
    known = SCRIPTS[script]
    return _within(key, known.reads) and not _within(key, known.but)


def why_unused(script: str, key: str, value: Lookup) -> str:
    """Why an override of a key has no effect, with a remedy; "" if it has one.

    Args:
      script: a name in `SCRIPTS`.
      key: dotted.
      value: see `Lookup`.

    Example: "while config.rl.algorithm is 'grpo'; leave it out, or set --config.rl.algorithm=ppo".
    """
    if not reads(script, key):
        return _elsewhere(script, key)
    if script in WITHOUT_CONDITIONS:
        return ""
    for condition in CONDITIONS:
        if not _within(key, condition.keys) or script not in (condition.scripts or SCRIPTS):
            continue
        if fault := next(filter(None, (_unmet(need, value) for need in condition.needs)), ""):
            return fault
    return ""


def _elsewhere(script: str, key: str) -> str:
    known = SCRIPTS[script]
    for name, why in known.but.items():
        if _within(key, (name,)):
            return f"in {script}.py: {why}; leave it out"
    others = ", ".join(name for name in SCRIPTS if reads(name, key))
    there = f"; it is for {others}" if others else ""
    if len(known.reads) > 6:
        return f"here: {script}.py reads other keys (docs/settings.md); leave it out{there}"
    few = f"only config.{', config.'.join(known.reads)}" if known.reads else "no key of the config"
    return f"here: {script}.py reads {few}; leave it out{there}"


def _unmet(need: Need | Named, value: Lookup) -> str:
    if isinstance(need, Named):
        name = value(f"{need.section}.name")
        if name is None or _in_play(need.section, value) & set(need.names):
            return ""
        which = " or ".join(need.names)
        return (
            f"while config.{need.section}.name is {name!r}, as only {which} reads it; leave it "
            f"out, or set --config.{need.section}.name={need.names[0]}"
        )
    found = value(need.key)
    if found is None or (found in need.values if need.values else found not in need.excluded):
        return ""
    remedy = (
        f"set --config.{need.key}={need.values[0]}" if need.values else f"set config.{need.key}"
    )
    return f"while config.{need.key} is {found!r}; leave it out, or {remedy}"


def _in_play(section: str, value: Lookup) -> set[str]:
    """The Oracle's name, with the one that it wraps and its members."""
    names = {value(f"{section}.name")}
    if names & set(WRAPPERS):
        names.add(value(f"{section}.inner"))
    return names | set(value(f"{section}.members") or ()) if "ensemble" in names else names


def _within(key: str, names: Any) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)

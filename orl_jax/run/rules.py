"""The limits of every key of a configuration; `orl_jax.run.config.validate` holds it to them."""

import math

from orl_jax.run.rule import (
    Rule,
    above,
    at_least,
    between,
    flag,
    fraction,
    one_of,
    seed,
    some_of,
    text,
)

# Names that belong to other rooms, written out because this room imports none of them. A test holds
# them to their owners.
SOURCES = (
    "shapes", "describe", "activitynet_qa", "msvd_qa", "msrvtt_qa", "video_mme",
    "shapes_choice", "video_chatgpt", "vlm_rlaif_sft", "vlm_rlaif_init", "vlm_rlaif_rl",
    "vlm_rlaif_pairs", "own",
)  # fmt: skip
CHOICES = ("letter", "letter_likelihood", "text_likelihood")
POLICIES = ("skip", "raise")
MONITORS = (
    "advantage_collapse", "advantage_explosion", "policy_drift", "entropy_collapse",
    "length_drift", "advantage_length", "oracle_length", "wrong_direction",
    "type_fall", "oracle_failing", "sampler_mismatch",
)  # fmt: skip
STAGES = ("score_model", "vision", "sft", "reward", "ranker", "rl")  # the first is shared
LONGEST = 65536  # tokens of an answer: the cache of each is allocated whole
DTYPES = ("float32", "bfloat16")


def _optimizer_rules(section: str) -> tuple[Rule, ...]:
    return (
        above(f"{section}.learning_rate", 0, 1e-3),
        at_least(f"{section}.warmup_steps", 0, 10),
        one_of(f"{section}.schedule", ("cosine", "constant")),
        at_least(f"{section}.weight_decay", 0, 0.01),
        *(
            Rule(f"{section}.{beta}", lambda v: 0 <= v < 1, "in [0, 1)", usual)
            for beta, usual in (("beta1", 0.9), ("beta2", 0.999))
        ),
        above(f"{section}.max_grad_norm", 0, 1.0),
    )


def _stage_rules(stage: str) -> tuple[Rule, ...]:
    """What trained stages have; not every stage has all of it."""
    return (
        *_optimizer_rules(stage),
        at_least(f"{stage}.steps", 0, 100),
        at_least(f"{stage}.seconds", 0, 0.0),
        at_least(f"{stage}.batch_size", 1, 64),
        at_least(f"{stage}.log_every", 1, 10),
        at_least(f"{stage}.validate_every", 0, 20),
    )


def _layer_rules(part: str) -> tuple[Rule, ...]:
    return (
        above(f"model.{part}.norm_epsilon", 0, 1e-5),
        one_of(f"model.{part}.dtype", DTYPES),
        one_of(f"model.{part}.quantisation", ("none", "nf4", "int8")),
        at_least(f"model.{part}.quantisation_block", 1, 64),
        flag(f"model.{part}.remat", False),
    )


def _size_rules(part: str, *names: str) -> tuple[Rule, ...]:
    """Sizes of a part of the model. Above the limits no machine has the memory."""
    limits = {"layers": 4096, "heads": 4096, "kv_heads": 4096, "unroll": 4096}
    return tuple(between(f"model.{part}.{name}", 1, limits.get(name, 2**20), 4) for name in names)


def _server_rules(section: str) -> tuple[Rule, ...]:
    """How a model behind an address is asked."""
    return (
        *(at_least(f"{section}.{key}", 1, 1) for key in ("concurrency", "attempts")),
        *(
            at_least(f"{section}.{key}", 0, 0)
            for key in ("reply_tokens", "max_calls", "max_tokens")
        ),
        *(above(f"{section}.{key}", 0, 60.0) for key in ("timeout", "deadline", "cache_mb")),
    )


def _oracle_rules(section: str) -> tuple[Rule, ...]:
    return (
        one_of(f"{section}.policy", POLICIES),
        fraction(f"{section}.halt_above", 1.0),
        at_least(f"{section}.quorum", 1, 1),
        seed(f"{section}.seed"),
        Rule(f"{section}.lag", lambda v: v in (0, 1), "0 or 1", 0),
        at_least(f"{section}.pause_seconds", 0, 30.0),
        at_least(f"{section}.delay_seconds", 0, 1.0),
        at_least(f"{section}.tie_margin", 0, 0.5),
        one_of(f"{section}.embedding.near", ("reference", "others", "question")),
        at_least(f"{section}.embedding.batch_size", 1, 64),
        *_server_rules(f"{section}.served"),
        one_of(f"{section}.served.mode", ("listwise", "pairwise")),
        at_least(f"{section}.served.shuffles", 1, 1),
        at_least(f"{section}.served.frames", 0, 0),
        at_least(f"{section}.served.frame_size", 16, 224),
    )


def _mesh_rule(axis: str) -> Rule:
    return Rule(f"mesh.{axis}", lambda v: v == -1 or v >= 1, "at least 1, or -1 for the rest", 1)


RULES = (
    # Shared sections come first: what is wrong with an inherited value is said of the key that it
    # was set by.
    *_optimizer_rules("optimizer"),
    *(rule for stage in STAGES for rule in _stage_rules(stage)),
    *_layer_rules("layers"),
    *_server_rules("server"),
    seed("seed"),
    text("data.folder", "data/shapes"),
    text("data.tokenizer"),
    text("data.features"),
    between("data.frames", 1, 2**16, 8),
    between("data.image_size", 1, 2**14, 64),
    one_of("data.framing", ("crop", "pad")),
    between("data.prompt_tokens", 1, 2**24, 40),
    between("data.response_tokens", 1, 2**24, 12),
    at_least("data.workers", 0, 0),
    at_least("data.cache_mb", 0, 256),
    one_of("data.bad_video", ("skip", "raise")),
    seed("data.scenes.seed"),
    at_least("data.scenes.train", 1, 3000),
    one_of("source.name", SOURCES),
    one_of("source.missing_videos", ("keep", "drop", "raise")),
    Rule("source.validation_share", lambda v: 0 <= v < 1, "at least 0 and below 1", 0.05),
    at_least("data.scenes.frames", 1, 32),
    above("data.scenes.rate", 0, 8),
    fraction("data.scenes.systematic_share", 0.7),
    fraction("data.scenes.random_share", 0.1),
    *_size_rules("vision", "width", "layers", "heads", "mlp_width", "patch_size", "unroll"),
    *_size_rules("adapter", "queries", "width", "layers", "heads", "mlp_width", "cross_frequency"),
    *_size_rules("language", "width", "layers", "heads", "kv_heads", "mlp_width", "unroll"),
    Rule("model.vision.select_layer", lambda v: isinstance(v, int), "an integer", -2),
    *(flag(f"model.adapter.{n}", True) for n in ("time_embedding", "feature_norm", "exact_gelu")),
    flag("model.language.tied", False),
    above("model.language.rope_base", 0, 10000.0),
    above("model.language.embedding_std", 0, 0.5),
    at_least("model.vocabulary_chunk", 0, 0),
    one_of("model.vision.activation", ("quick_gelu", "gelu")),
    one_of("model.adapter.name", ("qformer", "pool")),
    Rule(
        "model.language.head_width",
        lambda v: v >= 0 and v % 2 == 0,
        "even, or 0 for width / heads",
        0,
    ),
    one_of("model.language.rope_scaling", ("none", "linear", "llama3")),
    at_least("model.language.rope_factor", 1, 8.0),
    above("model.language.rope_low_frequency", 0, 1.0),
    above("model.language.rope_high_frequency", 0, 4.0),
    at_least("model.language.rope_original_length", 1, 8192),
    one_of("model.param_dtype", DTYPES),
    *(rule for part in ("vision", "adapter", "language") for rule in _layer_rules(part)),
    at_least("model.vision.frames_at_a_time", 0, 0),
    *(_mesh_rule(axis) for axis in ("data", "fsdp", "tensor")),
    at_least("model.lora.rank", 1, 8),
    above("model.lora.alpha", 0, 16.0),
    at_least("vision.encoder_steps", 0, 400),
    one_of("sft.answers", ("taught", "clean")),
    at_least("sft.questions", 1, 6),
    at_least("sft.micro_batch", 0, 0, " (videos; 0 is the whole batch)"),
    at_least("rl.epochs", 0, 4),
    at_least("rl.group_size", 2, 5, ": a single answer has no rank"),
    at_least("rl.micro_batch", 0, 0, " (prompts; 0 is the whole batch)"),
    at_least("rl.updates_per_rollout", 1, 1),
    at_least("rl.minibatches", 1, 1),
    one_of("rl.algorithm", ("grpo_rank", "grpo", "ppo", "direct")),
    above("rl.temperature", 0, 1.0),
    at_least("rl.top_k", 0, 0, ": tokens; 0 is all"),
    Rule("rl.top_p", lambda v: 0 < v <= 1, "in (0, 1]", 1.0),
    Rule("rl.min_p", lambda v: 0 <= v < 1, "in [0, 1)", 0.0),
    between("rl.max_response_tokens", 1, LONGEST, 12),
    one_of("rl.truncated", ("keep", "leave_out")),
    one_of("rl.advantage.form", ("signed", "printed", "linear", "zscore")),
    fraction("rl.advantage.mix", 0.0),
    one_of("rl.advantage.predicted", ("sum", "mean", "ratio")),
    one_of("rl.advantage.discount", ("log2", "printed", "product")),
    one_of("rl.grpo.form", ("standardised", "centred", "leave_one_out")),
    one_of("rl.direct.loss", ("dpo", "best_worst_dpo", "list_dpo", "lipo", "best_of")),
    above("rl.direct.beta", 0, 0.1),
    at_least("rl.ppo.minibatches", 1, 2),
    fraction("rl.ppo.gamma", 1.0),
    fraction("rl.ppo.lam", 1.0),
    above("rl.ppo.value_clip", 0, 0.2),
    at_least("rl.ppo.value_coefficient", 0, 0.1),
    at_least("rl.ppo.kl_reward", 0, 0.1),
    Rule("rl.clip_low", lambda v: 0 < v <= 1, "in (0, 1]", 0.2),
    above("rl.clip_high", 0, 0.2),
    Rule("rl.clip_dual", lambda v: v == 0 or 1 < v < math.inf, "0 (off) or above 1", 3.0),
    Rule("rl.importance_cap", lambda v: v == 0 or 1 < v < math.inf, "0 (off) or above 1", 2.0),
    at_least("rl.kl_coefficient", 0, 0.02),
    one_of("rl.kl_estimator", ("k3", "k2", "exact", "k1")),
    at_least("rl.entropy_coefficient", 0, 0.0),
    one_of("rl.normalisation", ("token", "sequence", "constant")),
    one_of("rl.reference_refresh", ("never", "epoch")),
    at_least("rl.rollouts_every", 1, 10),
    *_oracle_rules("oracle"),
    at_least("preferences.prompts", 1, 4096),
    *_oracle_rules("preferences.oracle"),
    at_least("preferences.samples", 2, 4),
    at_least("preferences.distractors", 0, 1),
    at_least("preferences.batch_size", 1, 64),
    above("preferences.temperature", 0, 1.0),
    *(
        Rule(f"{section}.held_out", lambda v: 0 < v < 1, "between 0 and 1, both excluded", 0.1)
        for section in ("score_model", "reward", "ranker")
    ),
    one_of("ranker.learn_from", ("lists", "pairs")),
    at_least("reward.centring", 0, 1e-3),
    at_least("monitors.window", 1, 10),
    fraction("monitors.no_signal_fraction", 0.9),
    at_least("monitors.advantage_floor", 0, 0.01),
    at_least("monitors.advantage_limit", 0, 5.0),
    at_least("monitors.kl_limit", 0, 0.5),
    fraction("monitors.entropy_share", 0.1),
    Rule("monitors.length_factor", lambda v: v == 0 or 1 < v < math.inf, "0 or above 1", 2.0),
    fraction("monitors.paid_length", 0.05),
    fraction("monitors.liked_length", 0.5),
    Rule("monitors.direction_floor", lambda v: -1 <= v <= 1, "between -1 (off) and 1", 0.0),
    fraction("monitors.type_fall", 0.1),
    fraction("monitors.valid_floor", 0.5),
    at_least("monitors.gap_limit", 0, 0.05),
    some_of("monitors.stop_on", MONITORS),
    *(at_least(f"audit.{key}", 0, 0) for key in ("max_groups", "pairs")),
    seed("audit.seed"),
    seed("evaluation.seed"),
    flag("evaluation.subtitles", False),
    text("evaluation.stratify"),
    at_least("audit.shuffles", 1, 3),
    at_least("audit.bootstrap", 100, 2000),
    *(at_least(f"audit.price.{key}", 0, 0.0) for key in ("input", "output")),
    *(
        Rule(f"audit.min_{key}", lambda v: -1 <= v <= 1, "between -1 (off) and 1", 0.5)
        for key in ("tau", "self_tau")
    ),
    *(fraction(f"audit.{key}", 0.5) for key in ("min_pair_accuracy", "min_top1", "min_transitive")),
    *(fraction(f"audit.max_{key}", 0.15) for key in ("position_bias", "invalid")),
    Rule("audit.max_length_bias", lambda v: 0 <= v <= 2, "between 0 and 2 (off)", 0.25),
    *_server_rules("judge"),
    at_least("judge.asks", 1, 1),
    at_least("checkpoint.every_steps", 1, 50),
    at_least("checkpoint.keep", 1, 2),
    at_least("evaluation.batch_size", 1, 64),
    at_least("evaluation.samples", 0, 2),
    at_least("evaluation.validation_items", 1, 256),
    *(
        at_least(f"evaluation.{key}", 0, 0)
        for key in ("max_items", "prompt_tokens", "response_tokens")
    ),
    one_of("evaluation.choice", CHOICES),
)

NEED_SCORES = ("grpo", "ppo")
GIVE_NO_SCORES = ("top", "coarse", "ranker", "recorded")

# How an Oracle is reached and what is done where it fails. Its answers depend on none of these, so
# they may change when a run or an audit is resumed.
ORACLE_MEANS = (
    "address", "timeout", "attempts", "deadline", "concurrency", "max_calls", "max_tokens",
    "key_variable", "cache", "cache_mb", "policy", "halt_above", "pause_seconds",
)  # fmt: skip

# The first must divide the second; 0 means the whole.
DIVIDES = (
    ("rl.micro_batch", "rl.batch_size"),  # both in prompts, so that groups stay whole
    ("sft.micro_batch", "sft.batch_size"),
    ("model.vision.frames_at_a_time", "data.frames"),
    ("model.vision.patch_size", "data.image_size"),
    ("model.vision.heads", "model.vision.width"),
    ("model.adapter.heads", "model.adapter.width"),
    ("model.language.heads", "model.language.width"),
    ("model.language.kv_heads", "model.language.heads"),
)

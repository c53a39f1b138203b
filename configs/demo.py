"""The embedded demo: shapes in motion, a small video-language model, two CPU cores.

`configs/demo.py:tiny` is the same in a size for tests. Shares and probabilities are in [0, 1],
sizes in pixels, widths in numbers, times in seconds. The sections about who orders and judges
answers are in `configs/oracles.py`.

A section has, next to its own keys, those of the section that it inherits from (`INHERITS`): with
`--config.optimizer.max_grad_norm=0.5` all stages clip at 0.5, with `--config.rl.max_grad_norm=0.5`
only RL does.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from orl_jax.run.errors import UserError
from orl_jax.run.inheritance import inherit

ORACLES = runpy.run_path(str(Path(__file__).with_name("oracles.py")))

# Section -> the one whose keys it has as well, where it does not set its own.
INHERITS = {
    "model.vision": "model.layers",
    "model.adapter": "model.layers",
    "model.language": "model.layers",
    "vision": "optimizer",
    "sft": "optimizer",
    "score_model": "optimizer",
    "reward": "score_model",
    "ranker": "score_model",
    "rl": "optimizer",
    "oracle.served": "server",
    "judge": "server",
    "preferences.oracle": "oracle",
}


def get_config(size: str = "") -> ConfigDict:
    """The config; `size` is "" or "tiny". Sections are complete: inherited keys are in them.

    Raises:
      UserError: another size.
    """
    if size not in ("", "tiny"):
        raise UserError(f"configs/demo.py:{size} is not a size; choose configs/demo.py or :tiny")
    config = written()
    if size == "tiny":
        shrink(config)
    inherit(config, INHERITS)
    return config.lock()


def written() -> ConfigDict:
    """The sections as they are written here, without inherited keys."""
    return ConfigDict(
        {
            "seed": 0,
            # Devices along each axis; one may be -1, which takes the rest (docs/scaling.md).
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "data": data(),
            "source": source(),
            "model": model(),
            "optimizer": optimizer(),
            "vision": vision(),
            "sft": sft(),
            "rl": rl(),
            # What the demo compares RL with: more SFT on the same data for as many seconds.
            "control": {"learning_rate": 1e-3, "schedule": "constant"},
            "preferences": ORACLES["preferences"](),
            "score_model": ORACLES["score_model"](),
            "reward": ORACLES["reward"](),
            "ranker": ORACLES["ranker"](),
            "server": ORACLES["server"](),
            "oracle": ORACLES["oracle"](),
            "monitors": monitors(),
            "audit": ORACLES["audit"](),
            "judge": ORACLES["judge"](),
            "checkpoint": {"every_steps": 50, "keep": 2},
            "evaluation": evaluation(),
        }
    )


def data() -> dict:
    """The embedded world and how it is read."""
    return {
        "folder": "data/shapes",
        "tokenizer": "",  # a folder; "" is FOLDER/tokenizer, which prepare_data writes
        "frames": 8,  # F, sampled uniformly from a clip
        "image_size": 64,
        "framing": "crop",  # of clips that are not square: crop | pad (the baseline's checkpoints)
        "prompt_tokens": 36,  # L, visual tokens included; the world's longest prompt has 34
        "response_tokens": 10,  # T of taught answers, the end token included: the world's longest
        "workers": 0,  # processes that decode; 0 decodes in threads
        "bad_video": "skip",  # an unreadable video: skip it, counted | raise
        "cache_mb": 400,  # of decoded frames kept in memory, 10^6 bytes; training by workers: none
        # A folder for the visual tokens of RL's videos: a frozen encoder then sees each video once
        # over all runs; "" encodes them at every step. Its size is logged before it is written.
        "features": "data/features",
        "scenes": {
            "seed": 0,
            "train": 3000,  # clips; each has up to six questions
            "validation": 150,
            "test": 300,
            "composition": 150,  # clips with colour-shape pairs that training never shows
            "frames": 32,
            "rate": 8,  # frames a second
            "size": 64,
            # SFT answers are partly wrong, like scraped instruction data:
            "systematic_share": 0.75,  # of the answers (two fifths) whose value can be confused
            "random_share": 0.05,  # of all answers
        },
    }


def source() -> dict:
    """What scripts/prepare_data.py builds the data set from (docs/own_data.md)."""
    return {
        # shapes (the embedded world, data.scenes) | describe (the same with long answers,
        # configs/describe.py) | shapes_choice (in Video-MME's form) | activitynet_qa | msvd_qa |
        # msrvtt_qa | video_mme | video_chatgpt | vlm_rlaif_sft | vlm_rlaif_init | vlm_rlaif_rl |
        # vlm_rlaif_pairs | own
        "name": "shapes",
        "folder": "",  # of the official files; unread, as the following, for shapes
        "videos": "",  # where the videos are, and stay; "" is `folder`
        "missing_videos": "keep",  # keep (training skips and counts them) | drop | raise
        "validation_share": 0.05,  # of train's videos, where no validation split is given
    }


def model() -> dict:
    """Small CLIP, Q-Former and LLaMA; the keys are the fields of the modules."""
    return {
        # Of vision, adapter and language, each of which may set its own.
        "layers": {
            "norm_epsilon": 1e-5,
            "dtype": "float32",  # of the computation: float32 | bfloat16
            "remat": False,  # recompute layers in the backward pass, for less memory
            "quantisation": "none",  # of frozen kernels: none | nf4 | int8 (QLoRA)
            "quantisation_block": 64,  # rows that share a scale
        },
        "vision": {
            "width": 96,
            "layers": 4,
            "heads": 4,
            "mlp_width": 384,
            "patch_size": 16,
            "select_layer": -2,  # features are the input of the last layer, as in LLaVA
            "activation": "quick_gelu",  # quick_gelu (OpenAI's CLIP) | gelu (LAION's)
            "unroll": 4,  # layers at a time in the scan over layers
            "frames_at_a_time": 0,  # of each video, to save memory; 0 is all
        },
        "adapter": {
            "name": "qformer",  # qformer | pool (mlp2x_gelu, then mean pooling; reads few keys)
            "queries": 16,
            "width": 96,
            "layers": 2,
            "heads": 4,
            "mlp_width": 384,
            "cross_frequency": 1,  # layers per cross-attention (BLIP-2: 2)
            "norm_epsilon": 1e-12,
            "time_embedding": True,  # one for each frame, added to its features (BLIP-2: False)
            "feature_norm": True,  # a LayerNorm of the features (BLIP-2's are normed: False)
            "exact_gelu": False,  # between the last layers: GELU with erf (torch's) | with tanh
        },
        "language": {
            "width": 128,
            "layers": 3,
            "heads": 4,
            "kv_heads": 4,
            "mlp_width": 384,
            "head_width": 0,  # of each head; 0 is width / heads
            "tied": False,  # the projection to logits is the embedding; no lm_head then
            "rope_base": 10000.0,
            "rope_scaling": "none",  # for longer texts: none | linear | llama3 (Llama 3.1 on)
            "rope_factor": 1.0,  # of linear and llama3: slows rotation down
            "rope_low_frequency": 1.0,  # of llama3: fewer turns over the length below: slowed down
            "rope_high_frequency": 4.0,  # of llama3: more turns: unchanged; in between: mixed
            "rope_original_length": 8192,  # of llama3: tokens of a text in the original training
            "embedding_std": 0.5,  # of fresh embeddings; as large as visual tokens
            "unroll": 3,
        },
        "lora": {"rank": 16, "alpha": 32.0},  # on q, k, v, o, gate, up, down
        "param_dtype": "float32",  # of fresh frozen parameters; trained ones are always float32
        "vocabulary_chunk": 0,  # positions projected to logits at a time; 0 is all
    }


def optimizer() -> dict:
    """AdamW of every trained stage; a stage may set its own."""
    return {
        "learning_rate": 2e-3,
        "rates": (),  # factors of the learning rate: (regex of the parameter's path, factor)
        "warmup_steps": 10,
        "schedule": "cosine",  # cosine, to a tenth | constant; after the warm-up
        "weight_decay": 0.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "max_grad_norm": 1.0,
    }


def vision() -> dict:
    """The vision warm-up, a stand-in for pretrained CLIP and Q-Former; inherits `optimizer`."""
    return {
        "encoder_steps": 400,  # of `steps`; the rest train the adapter
        "steps": 650,
        "batch_size": 96,  # clips
        "rates": (("adapter/.*", 0.5),),
        "warmup_steps": 30,  # of each phase; each also has the whole schedule
        "weight_decay": 0.01,
        "log_every": 20,
    }


def sft() -> dict:
    """Supervised fine-tuning of the language model and, slowly, the adapter.

    Inherits `optimizer`.
    """
    return {
        "init_from": "",  # a checkpoint, WORKDIR/checkpoints/STAGE[/STEP]; "" is fresh parameters
        "answers": "taught",  # taught (partly wrong) | clean (the control)
        "lora": False,  # train adapters on a pretrained language model, not all of it
        "trainable": (("vision/.*", "freeze"), ("(adapter|language)/.*", "train")),
        "rates": (("adapter/.*", 0.03),),
        # (share of the steps, (lowest, highest difficulty)): 1 one frame is enough, 2 time matters
        "curriculum": ((0.1, (1, 1)), (0.9, (1, 2))),
        "steps": 800,
        "seconds": 0.0,  # stop after this time, whatever the steps; 0 for no limit
        "batch_size": 24,  # videos
        "micro_batch": 0,  # videos at a time in the update, to save memory; 0 is all
        "questions": 6,  # a video, at most
        "learning_rate": 3e-3,
        "warmup_steps": 30,
        "weight_decay": 0.01,
        "log_every": 10,
        "validate_every": 200,
    }


def rl() -> dict:
    """GRPO_rank on the adapters; inherits `optimizer`."""
    return {
        # grpo_rank, direct (the Oracle's ranks) | grpo, ppo (its scores)
        "algorithm": "grpo_rank",
        "init_from": "",  # a checkpoint; "" is WORKDIR/checkpoints/sft
        "trainable": ((".*/lora_[ab]", "train"), (".*", "freeze")),
        "steps": 150,
        "epochs": 0,  # passes over the prompts, instead of `steps`; 0 uses `steps`
        "seconds": 0.0,  # stop after this time, whatever the steps; 0 for no limit
        "batch_size": 64,  # prompts
        "group_size": 5,  # G, responses a prompt
        # Prompts at a time in the update, in whole groups; 0 is all (ppo: of a minibatch).
        "micro_batch": 0,
        "updates_per_rollout": 1,  # passes over a rollout
        "minibatches": 1,  # updates in each pass, each on a part of the prompts; ppo has its own
        "max_response_tokens": 10,  # T
        # Answers without an end: keep | leave_out (ranked, but train nothing; not of direct)
        "truncated": "keep",
        # Of sampling and of all log-probabilities, in this order:
        "temperature": 1.0,
        "top_k": 0,  # the k likeliest tokens; 0 is all
        "top_p": 1.0,  # the fewest that reach this probability
        "min_p": 0.0,  # those at least this many times as likely as the likeliest
        "advantage": {
            # signed (the sign corrected) | printed (the paper's, for the record) | linear (GOPO) |
            # zscore (of the ranks)
            "form": "signed",
            "mix": 0.0,  # share of the policy's own order; the signed form only
            # What that order is made of (docs/method.md#length): sum (the paper's, an order by
            # length) | mean | ratio (to the reference)
            "predicted": "sum",
            "discount": "log2",  # log2 | printed | product; not of linear and zscore
        },
        "grpo": {"form": "standardised"},  # | centred (Dr. GRPO) | leave_one_out (RLOO)
        "direct": {
            # dpo (all pairs) | best_worst_dpo | list_dpo (Plackett-Luce) | lipo (by nDCG) | best_of
            "loss": "dpo",
            "beta": 0.1,  # how strongly the reference holds; not of best_of
        },
        "ppo": {
            "minibatches": 2,  # updates in each of `updates_per_rollout` passes over a rollout
            "gamma": 1.0,  # discount of later tokens
            "lam": 1.0,  # of GAE
            "value_clip": 0.2,
            "value_coefficient": 0.1,
            # KL penalty (k1) in every token's reward; kl_coefficient and kl_estimator are unused
            "kl_reward": 0.1,
            "truncated_reward": 0.0,  # added to the score of an answer without an end
            "value_from": "",  # a checkpoint of stage reward; "" is the Oracle's, where it has one
        },
        "clip_low": 0.2,
        "clip_high": 0.2,
        "clip_dual": 0.0,  # bounds the loss of negative advantages at this ratio, e.g. 3; 0 is off
        # The sampler's probabilities are rounded otherwise than the update's: tokens are weighted
        # by their ratio, at most this, e.g. 2; 0 is off (not of ppo)
        "importance_cap": 0.0,
        "kl_coefficient": 0.02,
        "kl_estimator": "k3",  # k2 | k3 | exact (over the vocabulary) | k1 (kl_coefficient 0 only)
        "entropy_coefficient": 0.0,
        "normalisation": "token",  # token | sequence | constant; ppo: always token
        "reference_refresh": "never",  # never | epoch
        "warmup_steps": 5,
        "validate_every": 30,
        "rollouts_every": 10,  # steps between tables of responses in WORKDIR/rollouts
    }


def monitors() -> dict:
    """When RL is reported to go wrong; `docs/metrics.md` says what to try. 0 turns one off."""
    return {
        "window": 10,  # logged steps to average over
        # advantage_collapse, by either sign:
        "no_signal_fraction": 0.9,  # mean share of groups that the Oracle ties entirely: above this
        "advantage_floor": 0.01,  # mean absolute advantage: below this
        # advantage_explosion: the largest one; rank advantages stay below 1, z-scores below sqrt(G)
        "advantage_limit": 5.0,
        "kl_limit": 0.5,  # policy_drift: mean KL to the reference, nats per token
        "entropy_share": 0.1,  # entropy_collapse: of the first window's mean entropy
        "length_factor": 2.0,  # length_drift: against the first window's mean, either way
        # advantage_length: correlation of advantages with length, off the Oracle's own, either way
        "paid_length": 0.05,
        "liked_length": 0.5,  # oracle_length: correlation of the Oracle's order with length
        # wrong_direction: correlation of a step's advantages with the Oracle's order; -1 is off
        "direction_floor": 0.0,
        "type_fall": 0.1,  # type_fall: a task type's validation accuracy below its first, a share
        "valid_floor": 0.5,  # oracle_failing: mean share of groups with a valid ranking
        "gap_limit": 0.05,  # sampler_mismatch: mean gap of a step, nats
        "stop_on": (),  # monitors that stop training, e.g. ("policy_drift",); the others warn
    }


def evaluation() -> dict:
    """Validation and `scripts/evaluate.py` (docs/evaluation.md)."""
    return {
        "batch_size": 64,  # items at a time
        "samples": 2,  # sampled answers an item, in addition to the greedy one; 0 is none
        "validation_items": 256,
        "max_items": 0,  # of a split; 0 is all of them
        # With max_items: "" takes the first items; names of features, such as task_type or
        # task_type,duration, draw from each of their kinds in proportion, by the seed.
        "stratify": "",
        "seed": 0,
        # Multiple choice: letter (options are shown, an answer is generated) | letter_likelihood
        # (shown, the likeliest letter) | text_likelihood (not shown, the likeliest text)
        "choice": "letter",
        "subtitles": False,  # in the prompt: those at the times of the frames, if there are any
        "prompt_tokens": 0,  # for questions longer than in training; 0 is data.prompt_tokens
        "response_tokens": 0,  # of an answer at most; 0 is rl.max_response_tokens
    }


def shrink(config: ConfigDict) -> None:
    """Sizes for tests: seconds instead of minutes. Learns little."""
    config.data.scenes.update(train=24, validation=6, test=6, composition=4, frames=8)
    config.data.update(frames=3, image_size=32, prompt_tokens=32, cache_mb=16, features="")
    config.data.response_tokens = config.rl.max_response_tokens = 12
    config.data.scenes.size = 32
    config.model.vision.update(width=16, layers=2, heads=2, mlp_width=32)
    config.model.adapter.update(queries=6, width=16, heads=2, layers=1, mlp_width=32)
    config.model.language.update(width=16, layers=2, heads=2, kv_heads=1, mlp_width=32)
    config.model.lora.rank = 2
    config.vision.update(encoder_steps=2, steps=4, batch_size=4, log_every=1)
    config.sft.update(steps=6, batch_size=4, log_every=1, validate_every=3)
    config.preferences.update(prompts=24, samples=3, batch_size=8)
    config.score_model.update(batch_size=4, log_every=1, validate_every=2, held_out=0.3)
    config.reward.steps = config.ranker.steps = 4
    config.rl.update(steps=4, batch_size=4, group_size=3, validate_every=2, rollouts_every=1)
    config.evaluation.update(batch_size=8, validation_items=8)
    config.checkpoint.every_steps = 2

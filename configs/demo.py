"""The embedded demo: shapes in motion, a small video-language model, two CPU cores.

`configs/demo.py:tiny` is the same in a size for tests. Shares and probabilities are in [0, 1],
sizes in pixels, widths in numbers, times in seconds.
"""

from ml_collections import ConfigDict

from orl_jax.errors import UserError


def get_config(size: str = "") -> ConfigDict:
    """The config; `size` is "" or "tiny".

    Raises:
      UserError: another size.
    """
    if size not in ("", "tiny"):
        raise UserError(f"configs/demo.py:{size} is not a size; choose configs/demo.py or :tiny")
    config = ConfigDict(
        {
            "seed": 0,
            "data": data(),
            "model": model(),
            "vision": vision(),
            "sft": sft(),
            "rl": rl(),
            # What the demo sets beside RL: the same seconds of more SFT on the same data.
            "control": {"learning_rate": 1e-3, "schedule": "constant"},
            "oracle": {
                "name": "reference",  # reference | noisy
                "policy": "skip",  # a failing Oracle: skip its groups | raise
                "inner": "reference",  # of noisy: the Oracle that it wraps
                "swap_probability": 0.0,  # of noisy: for each pair of neighbours
                "invalid_probability": 0.0,  # of noisy: for each group
                "seed": 0,
            },
            "checkpoint": {"every_steps": 50, "keep": 2},
            "evaluation": {
                "batch_size": 64,  # items at a time
                "samples": 2,  # sampled answers an item, besides the greedy one
                "validation_items": 256,
                "max_items": 0,  # of a split; 0 is all of them
            },
        }
    )
    if size == "tiny":
        shrink(config)
    return config.lock()


def data() -> dict:
    """The embedded world and how it is read."""
    return {
        "folder": "data/shapes",
        "tokenizer": "",  # a folder; "" is FOLDER/tokenizer, which prepare_data writes
        "frames": 8,  # F, sampled uniformly from a clip
        "image_size": 64,
        "prompt_tokens": 40,  # L, visual tokens included
        "response_tokens": 12,  # T of taught answers, the end token included
        "workers": 0,  # processes that decode; 0 decodes in threads
        "bad_video": "skip",  # an unreadable video: skip it, counted | raise
        "cache_mb": 400,  # decoded frames kept in memory; 0 for none
        "scenes": {
            "seed": 0,
            "train": 3000,  # clips; each has up to six questions
            "validation": 150,
            "test": 300,
            "composition": 150,  # clips with colour-shape pairs that training never shows
            "frames": 32,
            "rate": 8,  # frames a second
            "size": 64,
            # SFT answers are partly wrong, as scraped instruction data is:
            "systematic_share": 0.75,  # of answers with a value that is mixed up (two fifths are)
            "random_share": 0.05,  # of all answers
        },
    }


def model() -> dict:
    """CLIP, Q-Former and LLaMA in small; the keys are the fields of the modules."""
    return {
        "vision": {
            "width": 96,
            "layers": 4,
            "heads": 4,
            "mlp_width": 384,
            "patch_size": 16,
            "select_layer": -2,  # features are the input of the last layer, as in LLaVA
            "remat": False,  # recompute layers in the backward pass, for less memory
            "unroll": 4,  # layers at a time in the scan over layers
        },
        "adapter": {
            "name": "qformer",  # qformer | pool (mlp2x_gelu, then mean pooling; other keys unused)
            "queries": 16,
            "width": 96,
            "layers": 2,
            "heads": 4,
            "mlp_width": 384,
            "cross_frequency": 1,  # every so many layers cross-attention (BLIP-2: 2)
            "remat": False,
        },
        "language": {
            "width": 128,
            "layers": 3,
            "heads": 4,
            "kv_heads": 4,
            "mlp_width": 384,
            "rope_base": 10000.0,
            "norm_epsilon": 1e-5,
            "embedding_std": 0.5,  # of fresh embeddings: of the size of the visual tokens
            "remat": False,
            "unroll": 3,
        },
        "lora": {"rank": 16, "alpha": 32.0},  # on q, k, v, o, gate, up, down
        "vocabulary_chunk": 0,  # positions projected to logits at a time; 0 is all
    }


def vision() -> dict:
    """The vision warm-up, in place of pretrained CLIP and Q-Former."""
    return {
        "encoder_steps": 400,  # of `steps`; the others are the adapter's
        "steps": 650,
        "batch_size": 96,  # clips
        "learning_rate": 2e-3,
        "rates": (("adapter/.*", 0.5),),  # factors of the learning rate
        "warmup_steps": 30,  # of each phase
        "schedule": "cosine",  # of each phase: cosine to a tenth | constant
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "log_every": 20,
    }


def sft() -> dict:
    """Supervised fine-tuning of the language model and, slowly, of the adapter."""
    return {
        "init_from": "",  # a checkpoint, WORKDIR/checkpoints/STAGE[/STEP]; "" is fresh parameters
        "answers": "taught",  # taught (partly wrong) | clean (the control)
        "lora": False,  # adapters on a pretrained language model; here all of it is trained
        "trainable": (("vision/.*", "freeze"), ("(adapter|language)/.*", "train")),
        "rates": (("adapter/.*", 0.03),),  # factors of the learning rate
        # (share of the steps, (lowest, highest difficulty)): 1 one frame is enough, 2 time matters
        "curriculum": ((0.1, (1, 1)), (0.9, (1, 2))),
        "steps": 800,
        "seconds": 0.0,  # stop after so long, whatever the steps; 0 for no limit
        "batch_size": 24,  # videos
        "questions": 6,  # at most, a video
        "learning_rate": 3e-3,
        "warmup_steps": 30,
        "schedule": "cosine",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "log_every": 10,
        "validate_every": 200,
    }


def rl() -> dict:
    """GRPO_rank on the adapters."""
    return {
        "algorithm": "grpo_rank",
        "init_from": "",  # a checkpoint; "" is WORKDIR/checkpoints/sft
        "trainable": ((".*/lora_[ab]", "train"), (".*", "freeze")),
        "steps": 150,
        "seconds": 0.0,  # stop after so long, whatever the steps; 0 for no limit
        "batch_size": 64,  # prompts
        "group_size": 5,  # G, responses a prompt
        "micro_batch": 0,  # prompts at a time in the update, groups whole; 0 is all
        "updates_per_rollout": 1,
        "max_response_tokens": 12,  # T
        "temperature": 1.0,  # of sampling and of all log-probabilities
        "advantage": {
            "form": "signed",  # signed (the mended sign) | printed (the paper's, for the record)
            "mix": 0.25,  # share of the policy's own order in the signed form
            "discount": "log2",  # log2 | printed | product
        },
        "clip_low": 0.2,
        "clip_high": 0.2,
        "kl_coefficient": 0.02,
        "kl_estimator": "k3",  # k1 | k2 | k3
        "entropy_coefficient": 0.0,
        "normalisation": "token",  # token | sequence | constant
        "reference_refresh": "never",  # never | epoch
        "learning_rate": 2e-3,
        "warmup_steps": 5,
        "schedule": "cosine",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "validate_every": 30,
        "rollouts_every": 10,  # steps between tables of responses in WORKDIR/rollouts
    }


def shrink(config: ConfigDict) -> None:
    """Sizes for tests: seconds, not minutes. Learns little."""
    config.data.scenes.update(train=24, validation=6, test=6, composition=4, frames=8)
    config.data.update(frames=3, image_size=32, prompt_tokens=32, cache_mb=16)
    config.data.scenes.size = 32
    config.model.vision.update(width=16, layers=2, heads=2, mlp_width=32)
    config.model.adapter.update(queries=6, width=16, heads=2, layers=1, mlp_width=32)
    config.model.language.update(width=16, layers=2, heads=2, kv_heads=1, mlp_width=32)
    config.model.lora.rank = 2
    config.vision.update(encoder_steps=2, steps=4, batch_size=4, log_every=1)
    config.sft.update(steps=6, batch_size=4, log_every=1, validate_every=3)
    config.rl.update(steps=4, batch_size=4, group_size=3, validate_every=2, rollouts_every=1)
    config.evaluation.update(batch_size=8, validation_items=8)
    config.checkpoint.every_steps = 2

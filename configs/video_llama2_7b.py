"""Oracle-RLAIF as published: LLaMA-2-7B, CLIP ViT-L/14 at 336 pixels, 50 frames, QLoRA, G = 5.

    configs/video_llama2_7b.py                  Q-Former, four H100 80 GB
    configs/video_llama2_7b.py:pool             the adapter of the baseline's released checkpoints
    configs/video_llama2_7b.py:pool,1xh100      on one H100: half the batch, 32 prompts a rollout

Choices are joined by commas: `qformer` or `pool`, `4xh100` or `1xh100`. Sources of the numbers:

    P   arXiv 2510.02561, Oracle-RLAIF
    V   yonseivnl/vlm-rlaif at 610cac7, the code of its baseline VLM-RLAIF (arXiv 2402.03746)
    Q   arXiv 2305.14314, QLoRA
    B   BLIP-2's Q-Former (arXiv 2301.12597, `Blip2QFormerConfig`)
    not published: ours

docs/scaling.md has the commands, starting with the import of real weights; `scripts/plan_memory.py`
says beforehand what fits.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from orl_jax.run.errors import UserError

IMPORTED = Path(__file__).with_name("imported.py")
ADAPTERS = ("qformer", "pool")
MACHINES = ("4xh100", "1xh100")


def get_config(choices: str = "") -> ConfigDict:
    """The config of an adapter and a machine.

    Raises:
      UserError: another choice, or two of a kind.
    """
    chosen = [choice for choice in choices.split(",") if choice]
    adapter, machine = (_pick(chosen, names) for names in (ADAPTERS, MACHINES))
    if unknown := set(chosen) - {adapter, machine}:
        raise UserError(
            f"configs/video_llama2_7b.py:{choices}: {', '.join(sorted(unknown))} cannot be chosen; "
            f"take one of {', '.join(ADAPTERS)} and one of {', '.join(MACHINES)}"
        )
    config = runpy.run_path(str(IMPORTED))["get_config"]().unlock()
    config.data.update(data(adapter))
    config.model.vision.update(vision())
    config.model.adapter.update(qformer() if adapter == "qformer" else {"name": "pool"})
    config.model.adapter.dtype = "bfloat16"  # V
    config.model.language.update(language())
    config.model.lora.update(rank=64, alpha=16.0)  # P (printed as "65"), V
    config.model.param_dtype = "bfloat16"  # V
    config.model.vocabulary_chunk = 2048  # positions; not published: ours
    config.sft.update(sft())
    config.rl.update(rl())
    config.mesh.update(data=4 if machine == "4xh100" else 1, fsdp=1, tensor=1)
    # Prompts at a time in the update, in whole groups: one per device.
    config.rl.micro_batch = config.mesh.data
    if (adapter, machine) == ("pool", "1xh100"):  # 754 tokens a prompt: what 80 GB hold
        config.rl.batch_size, config.sft.batch_size = 32, 8
    return config.lock()


def _pick(chosen: list[str], names: tuple[str, ...]) -> str:
    """The one that is chosen, or the first."""
    return next((name for name in names if name in chosen), names[0])


def data(adapter: str) -> dict:
    """What the policy reads, and the length of its answers."""
    visual = 32 if adapter == "qformer" else 50 + 576
    return {
        "frames": 50,  # P, V: sampled uniformly
        "image_size": 336,  # P, V
        "framing": "pad",  # V: to a square
        "prompt_tokens": visual + 128,  # V: 128 of text
        "response_tokens": 256,  # of SFT; V has 2,048 for all: not published: ours
        "workers": 12,  # not published: ours
        "cache_mb": 0,  # a video takes 17 MB; not published: ours
    }


def vision() -> dict:
    """CLIP ViT-L/14 at 336 pixels, frozen (P, V)."""
    return {
        "width": 1024, "layers": 24, "heads": 16, "mlp_width": 4096, "patch_size": 14,
        "select_layer": -2, "activation": "quick_gelu", "norm_epsilon": 1e-5,  # V
        "dtype": "bfloat16",  # V
        "remat": False, "unroll": 1,  # frozen: it has no backward pass
        "frames_at_a_time": 5,  # of each video; not published: ours
        "quantisation": "none",  # V
    }  # fmt: skip


def qformer() -> dict:
    """32 queries and two linear layers (P); the layers between are not published: B's."""
    return {
        "name": "qformer", "queries": 32, "width": 768, "layers": 12, "heads": 12,
        "mlp_width": 3072, "cross_frequency": 2, "norm_epsilon": 1e-12, "remat": True,
    }  # fmt: skip


def language() -> dict:
    """LLaMA-2-7B (P), 4-bit NormalFloat, a scale for 64 numbers (P: 4 bits; Q)."""
    return {
        "width": 4096, "layers": 32, "heads": 32, "kv_heads": 32, "mlp_width": 11008,
        "rope_base": 10000.0, "norm_epsilon": 1e-5, "embedding_std": 0.02,
        "dtype": "bfloat16",  # V
        "quantisation": "nf4", "quantisation_block": 64,
        "remat": True, "unroll": 1,  # V: gradient checkpointing
    }  # fmt: skip


def sft() -> dict:
    """V's settings for its policy, from which P begins."""
    return {
        "batch_size": 32,  # videos of up to 4 questions; V: 128 questions
        "questions": 4,
        "learning_rate": 1e-4,  # V
        "schedule": "cosine",  # V
        "weight_decay": 0.0,  # V
        "max_grad_norm": 0.3,  # V: transformers' default there
        "curriculum": ((0.65, (1, 1)), (0.35, (1, 2))),  # V: 214k easy, then 113k hard
    }


def rl() -> dict:
    """From P where it says so."""
    return {
        "algorithm": "grpo_rank",  # P
        "batch_size": 64,  # P: rollout batch
        "group_size": 5,  # P
        "epochs": 4,  # P
        "reference_refresh": "epoch",  # P
        "updates_per_rollout": 1,  # not published: ours
        "max_response_tokens": 256,  # not published: ours (V: 896)
        "temperature": 1.0,  # V
        "clip_low": 0.2, "clip_high": 0.2,  # not published: V's
        "kl_coefficient": 0.02, "kl_estimator": "k3",  # not published: ours
        "entropy_coefficient": 0.0,  # P has the term, not its weight: ours
        "learning_rate": 3e-5,  # not published: V's
        "schedule": "cosine", "warmup_steps": 5,  # not published: V's
        "weight_decay": 0.0, "max_grad_norm": 1.0,  # not published: V's
    }  # fmt: skip

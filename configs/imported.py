"""Real weights: to import them into a workdir, and to train from what was imported.

    configs/imported.py               for scripts/import_weights.py; `weights` names local folders
    configs/imported.py:runs/llama2   for all other scripts, after the import into runs/llama2

The sections are those of `configs/demo.py`, which explains them; this file has what differs for a
language model of billions of parameters. An import replaces `model`, `data.image_size` and
`data.framing` with what the folders say. docs/weights.md has the commands.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

DEMO = Path(__file__).with_name("demo.py")
ADAPTERS = ((".*/lora_[ab]|adapter/.*", "train"), (".*", "freeze"))
# What imported parameters depend on; the prompt's length is free if visual tokens fit in it.
FROM_IMPORT = ("image_size", "frames", "framing", "tokenizer")


def get_config(workdir: str = "") -> ConfigDict:
    """The config to import with, or, with the workdir of an import, the one to train with.

    Raises:
      UserError: nothing was imported into `workdir`.
    """
    config = runpy.run_path(str(DEMO))["get_config"]().unlock()
    config.weights = weights()
    config.data.update(
        frames=50,  # the baseline's
        framing="crop",  # as CLIP was trained; LLaVA's folders say pad
        prompt_tokens=768,  # 626 visual tokens of the pool adapter, and text
        response_tokens=256,
        cache_mb=2000,  # a video of 50 frames takes 17 MB at 336 pixels
        features="",  # 626 visual tokens of width 4,096 take 5 MB a video
    )
    for section, values in model().items():
        config.model[section].update(values)
    config.model.vocabulary_chunk = 512  # positions; their logits of 32,000 tokens take 66 MB
    config.sft.update(sft())
    config.rl.update(rl())
    config.checkpoint.every_steps = 200
    config.evaluation.update(batch_size=8, samples=1)
    if workdir:
        _continue(config, workdir)
    return config.lock()


def weights() -> ConfigDict:
    """Local Hugging Face folders; "" is none: that part starts from random parameters."""
    return ConfigDict(
        {
            "language": "",  # LlamaForCausalLM: LLaMA, Vicuna, TinyLlama, SmolLM2
            "vision": "",  # CLIPVisionModel or CLIPModel
            "adapter": "",  # Blip2QFormerModel, InstructBlipQFormerModel, or a whole BLIP-2
            "llava": "",  # instead: all three in one folder, of LLaVA or VLM-RLAIF (pool adapter)
            "peft": "",  # LoRA adapters of the language model, saved by PEFT
            "dtype": "bfloat16",  # of the checkpoint and of the arithmetic: bfloat16 | float32
        }
    )


def model() -> dict:
    """What no folder says, before the import."""
    large = {"remat": True, "unroll": 1}
    return {
        "vision": {"select_layer": -2, **large},
        "adapter": {  # BERT's size, 32 queries, as in BLIP-2 and Oracle-RLAIF
            "name": "qformer", "queries": 32, "width": 768, "layers": 12, "heads": 12,
            "mlp_width": 3072, "cross_frequency": 2, "remat": True,
        },
        "language": {"embedding_std": 0.02, **large},
        "lora": {"rank": 64, "alpha": 16.0},  # the baseline's
    }  # fmt: skip


def sft() -> dict:
    """Trains LoRA on the language model and all of the (perhaps fresh) visual adapter."""
    return {
        "lora": True,
        "trainable": ADAPTERS,
        "rates": (),
        "batch_size": 8,
        "questions": 4,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "warmup_steps": 50,
    }


def rl() -> dict:
    """The rate is the baseline's for RL; the batch is what fits in memory."""
    return {
        "batch_size": 8,
        "micro_batch": 1,
        "max_response_tokens": 128,
        "learning_rate": 3e-5,
        "schedule": "constant",
    }


def _continue(config: ConfigDict, workdir: str) -> None:
    """Model and data as imported; SFT begins from there."""
    from orl_jax.evaluation.evaluate import stored_config

    checkpoint = f"{workdir}/checkpoints/imported"
    stored = stored_config(checkpoint)
    config.model = stored.model
    config.data.update({key: stored.data[key] for key in FROM_IMPORT})
    config.weights = stored.weights
    if (tokenizer := Path(workdir) / "tokenizer").is_dir():  # there, wherever it was written
        config.data.tokenizer = str(tokenizer)
    config.sft.init_from = checkpoint

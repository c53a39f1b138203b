"""Oracle-RLAIF in JAX: fine-tuning video-language models from the rankings of an Oracle.

A room imports only rooms above it in this list (`docs/architecture.md`):

- `orl_jax.ops`: ranks, gains, advantages, losses. Pure functions of arrays.
- `orl_jax.run`: what every script needs: command line, config, checkpoints, metrics, files.
- `orl_jax.data`: videos, questions and tokenizers into batches. No jax.
- `orl_jax.report`: the toolkit for tables, figures, intervals and HTML pages.
- `orl_jax.models`: vision encoder, adapter and language model, LoRA, the sampler, sharding.
- `orl_jax.oracles`: who ranks the answers, and the audit of an Oracle. No jax.
- `orl_jax.weights`: Hugging Face and PEFT weights, in and out.
- `orl_jax.evaluation`: evaluates a checkpoint, scores predictions, compares models; chat.
- `orl_jax.training`: the training loop, optimiser, monitors; SFT and the vision warm-up.
- `orl_jax.rl`: Oracle-RLAIF itself and its rivals, from the rollout to the update.
- `orl_jax.experiments`: the demo, comparisons, the bandit.
- `orl_jax.performance`: memory plans, benchmarks, profiles.
"""

import os

os.environ.setdefault("PATH", os.defpath)  # decord extends it; some services start without one

__version__ = "0.1.0"

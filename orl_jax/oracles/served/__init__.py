"""An Oracle behind an OpenAI-compatible address: a served model that is asked to rank answers.

prompt  what it is asked       reply  what of its answer counts
oracle  all of it as `rank`    `orl_jax.oracles.served`: how it is reached, and its cache
"""

from orl_jax.oracles.served.oracle import ServedOracle, Settings

__all__ = ["ServedOracle", "Settings"]

"""An Oracle behind an OpenAI-compatible address: a served model that is asked to rank answers.

prompt  what it is asked       reply  what of its answer counts
client  how it is reached      cache  what need not be asked again
oracle  all of it as `rank`
"""

from orl_jax.oracles.served.oracle import ServedOracle, Settings

__all__ = ["ServedOracle", "Settings"]

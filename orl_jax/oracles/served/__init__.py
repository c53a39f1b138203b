"""An Oracle behind an OpenAI-compatible address: a served model that is asked to rank answers.

model   how it is asked                client  how it is reached
prompt  what it is asked               reply   what counts of its answer
cache   replies kept on disk           oracle  all of it as `rank`
"""

from orl_jax.oracles.served.model import ServedModel
from orl_jax.oracles.served.oracle import ServedOracle, Settings

__all__ = ["ServedModel", "ServedOracle", "Settings"]

"""Checkpoints of a run: WORKDIR/checkpoints/STAGE/STEP, written and read with Orbax.

checkpoints  saves and restores     location  where one is, and its identity
trees        what Orbax is given    sums      checksums of the files
pins         bases that are kept    damage    one line for what cannot be read
"""

from orl_jax.run.checkpoint.checkpoints import Checkpoints
from orl_jax.run.checkpoint.location import BASE, FOLDER, Location, locate

__all__ = ["BASE", "FOLDER", "Checkpoints", "Location", "locate"]

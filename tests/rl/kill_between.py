"""RL from a served Oracle that dies without warning between the answer and the update.

    python kill_between.py CONFIG_JSON WORKDIR STEP

STEP counts updates from 0 in this process.
"""

import os
import pathlib
import signal
import sys

from orl_jax.rl import stage as rl
from orl_jax.rl.learner import Learner
from orl_jax.run import config as configs


def main(config, workdir, step):
    update, done = Learner._update, []

    def dying(self, state, batch):
        if len(done) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(step)
        return update(self, state, batch)

    Learner._update = dying
    rl.train(configs.from_json(pathlib.Path(config).read_text()), workdir)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

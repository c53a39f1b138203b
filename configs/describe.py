"""The demo with long answers: "Describe what happens." in two to six sentences.

    python scripts/demo.py --config=configs/describe.py --workdir=runs/describe

`configs/describe.py:tiny` is the same in a size for tests. This file has what differs from
`configs/demo.py`, which explains the keys.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

DEMO = Path(__file__).with_name("demo.py")


def get_config(size: str = "") -> ConfigDict:
    """The config; `size` is "" or "tiny".

    Raises:
      UserError: another size.
    """
    config = runpy.run_path(str(DEMO))["get_config"](size).unlock()
    config.source.name = "describe"
    config.data.update(
        folder="data/describe",
        features="data/describe-features" if config.data.features else "",
        response_tokens=72,  # the longest description has 70, and the end token
    )
    # Here both shares of data.scenes are of the facts of a description.
    config.data.scenes.systematic_share = 0.5  # of the facts (two fifths) that can be confused
    config.data.descriptions = ConfigDict(
        {
            "cut_share": 0.2,  # of SFT's descriptions: sentences at the end are left out
            "short_share": 0.0,  # of the clips: with the demo's six short questions as well
            # Descriptions of a clip of the training split, in other words and with other errors:
            "tellings": 1,
        }
    )
    # One phase, as all descriptions have difficulty 2; `questions` are `tellings`, and six more
    # with short questions. Three tellings were no better in equal time.
    config.sft.update(curriculum=((1.0, (1, 2)),), questions=1)
    config.rl.max_response_tokens = 80
    config.oracle.update(name="facts", inner="facts")
    config.preferences.oracle.inner = "facts"
    if not size:
        config.rl.steps = 40
    return config.lock()

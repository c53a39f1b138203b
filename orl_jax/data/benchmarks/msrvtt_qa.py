"""MSRVTT-QA.

FOLDER/{train,val,test}_qa.json    [{"answer", "category_id", "id", "question", "video_id": 7010}]
VIDEOS/video7010.mp4
"""

from orl_jax.data.benchmarks.first_word import read_splits
from orl_jax.data.benchmarks.official_files import OfficialFiles
from orl_jax.data.benchmarks.reading import Reading


def read(files: OfficialFiles) -> Reading:
    """Reads the splits that are present.

    Raises:
      UserError: no split is present, or a row lacks a field.
    """
    return read_splits(files, lambda one: ("video" + one.removeprefix("video"),), ("category_id",))

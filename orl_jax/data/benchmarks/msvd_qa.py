"""MSVD-QA.

FOLDER/{train,val,test}_qa.json    [{"answer", "id", "question", "video_id": 1}]
FOLDER/youtube_mapping.txt         "YOUTUBE_ID vid1" per line; needed if videos have YouTube's names
VIDEOS/vid1.{avi,mp4,...} or VIDEOS/YOUTUBE_ID.{avi,mp4,...}
"""

from orl_jax.data.benchmarks.first_word import read_splits
from orl_jax.data.benchmarks.official_files import OfficialFiles
from orl_jax.data.benchmarks.reading import Reading
from orl_jax.run.errors import UserError

MAPPING = "youtube_mapping.txt"


def read(files: OfficialFiles) -> Reading:
    """Reads the splits that are present.

    Raises:
      UserError: no split is present, a row lacks a field, a line of the mapping is not two words.
    """
    youtube = _mapping(files) if files.has(MAPPING) else {}

    def names(video_id: str) -> tuple[str, ...]:
        own = "vid" + video_id.removeprefix("vid")
        return (own, youtube[own]) if own in youtube else (own,)

    return read_splits(files, names)


def _mapping(files: OfficialFiles) -> dict[str, str]:
    """YouTube's name of each video."""
    names = {}
    for number, line in enumerate(files.text(MAPPING).splitlines(), 1):
        words = line.split()
        if len(words) == 2:
            names[words[1]] = words[0]
        elif words:
            raise UserError(
                f'{files.folder / MAPPING}, line {number}, is not "YOUTUBE_ID vidN"; correct it'
            )
    return names

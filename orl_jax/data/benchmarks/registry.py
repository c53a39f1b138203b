"""The data sets that `config.source.name` may name, apart from the embedded world."""

import dataclasses
from collections.abc import Callable

from orl_jax.data.benchmarks import (
    activitynet_qa,
    msrvtt_qa,
    msvd_qa,
    own,
    video_chatgpt,
    video_mme,
    vlm_rlaif,
    vlm_rlaif_pairs,
)
from orl_jax.data.benchmarks.official_files import OfficialFiles
from orl_jax.data.benchmarks.reading import Reading


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A data set: its title, who distributes it, and its reader."""

    title: str
    origin: str
    read: Callable[[OfficialFiles], Reading]


_BASELINE = "the data sets of VLM-RLAIF's authors (SNUMPR)"

BENCHMARKS = {
    "activitynet_qa": Benchmark(
        "ActivityNet-QA", "its authors' repository (MILVLG)", activitynet_qa.read
    ),
    "msvd_qa": Benchmark("MSVD-QA", "its authors' repository (xudejing)", msvd_qa.read),
    "msrvtt_qa": Benchmark("MSRVTT-QA", "its authors' repository (xudejing)", msrvtt_qa.read),
    "video_mme": Benchmark("Video-MME", "its data set on Hugging Face (lmms-lab)", video_mme.read),
    # The same form, made from the embedded world; its numbers are not Video-MME's.
    "shapes_choice": Benchmark(
        "the embedded world, in Video-MME's form", "scripts/prepare_data.py", video_mme.read
    ),
    "video_chatgpt": Benchmark(
        "Video-ChatGPT's generation benchmark", "its authors (MBZUAI)", video_chatgpt.read
    ),
    "vlm_rlaif_sft": Benchmark("VLM-RLAIF's SFT data", _BASELINE, vlm_rlaif.read_sft),
    "vlm_rlaif_init": Benchmark("VLM-RLAIF's initial SFT", _BASELINE, vlm_rlaif.read_init),
    "vlm_rlaif_rl": Benchmark("VLM-RLAIF's RL data", _BASELINE, vlm_rlaif.read_rl),
    "vlm_rlaif_pairs": Benchmark("VLM-RLAIF's preference data", _BASELINE, vlm_rlaif_pairs.read),
    "own": Benchmark("your own data", "your own notes", own.read),
}
SHAPES, DESCRIBE = "shapes", "describe"
WORLDS = (SHAPES, DESCRIBE)  # the embedded ones
NAMES = (*WORLDS, *BENCHMARKS)

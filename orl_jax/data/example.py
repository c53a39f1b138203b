"""One data item as arrays: the part of the pipeline that runs in workers."""

import os
from typing import Any

import numpy as np

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.text.prompt import asked
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.video import VideoError, read_frames
from orl_jax.data.video_settings import VideoSettings
from orl_jax.run.errors import UserError

# Which field of an item is the response, by the argument `answers`.
ANSWERS = {"taught": "sft_answer", "clean": "answer", None: None}


class ExampleReader:
    """Decodes an item's video and encodes its texts; can be pickled unless it has a cache.

    Args:
      videos: where the videos are and how they are read.
      encoder: makes ids of the texts.
      answers: "taught", "clean", or None for examples without a response.
      cache: keeps decoded frames.

    Attributes:
      videos: as given; the loader follows its policy and number of workers.
      layout: shape and dtype of each array of an example, by name:
        "frames" uint8 [F, image_size, image_size, 3], "prompt_ids" int32 [L],
        "prompt_mask" bool [L], "response_ids" int32 [T], "response_mask" bool [T].
    """

    def __init__(
        self,
        *,
        videos: VideoSettings,
        encoder: PromptEncoder,
        answers: str | None,
        cache: FrameCache | None,
    ) -> None:
        if answers not in ANSWERS:
            raise UserError(f'answers is "{answers}"; it must be "taught" or "clean"')
        self.videos = videos
        self._encoder = encoder
        self._answer = ANSWERS[answers]
        self._cache = cache
        self.layout: dict[str, tuple[tuple[int, ...], type]] = {
            "frames": (videos.clip.shape, np.uint8),
            "prompt_ids": ((encoder.prompt_length,), np.int32),
            "prompt_mask": ((encoder.prompt_length,), np.bool_),
        }
        if self._answer:
            self.layout["response_ids"] = ((encoder.response_length,), np.int32)
            self.layout["response_mask"] = ((encoder.response_length,), np.bool_)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """An example, or the reason why there is none.

        Faults are returned, not raised: an exception would end grain's iterator and lose the
        position in the data.

        Returns:
          {"item": item} with the arrays of `layout`; or with "bad_video": (path, reason); or with
          "user_error": message.
        """
        try:
            return {"item": item, **self._texts(item), **self._video(item)}
        except VideoError as error:
            return {"item": item, "bad_video": (error.path, error.reason)}
        except UserError as error:
            return {"item": item, "user_error": f"item {item['item_id']}: {error}"}

    def _texts(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        ids, mask = self._encoder.encode_prompt(asked(item))
        arrays = {"prompt_ids": ids, "prompt_mask": mask}
        if self._answer:
            ids, mask = self._encoder.encode_response(item[self._answer])
            arrays |= {"response_ids": ids, "response_mask": mask}
        return arrays

    def _video(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        return {"frames": self._frames(self._path(item))}

    def _frames(self, path: str) -> np.ndarray:
        clip = self.videos.clip
        if self._cache is None:
            return read_frames(path, clip)
        return self._cache.fetch((path, clip), lambda: read_frames(path, clip))

    def _path(self, item: dict[str, Any]) -> str:
        return os.path.join(self.videos.folder, item["video"])

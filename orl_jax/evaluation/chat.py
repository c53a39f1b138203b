"""A conversation with a checkpoint about a video file, for `scripts/chat.py`.

    settings = stored_config("runs/demo/checkpoints/rl")
    assembly, params = restore(settings, "runs/demo/checkpoints/rl")
    chat = Chat(assembly, params, max_tokens=12)
    chat.watch(read_clip("clip.mp4", ClipFormat.of(settings.data)))
    chat.say("What does the red circle do?")     # streams the answer to standard output
    chat.sample("What does it do?", count=5)     # five answers with their log-probabilities

A video is decoded and encoded once, however many questions are asked about it, and functions are
compiled once. Messages about what was read go to `logging`, and so to standard error.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import decord
import jax
import numpy as np

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.video import ClipFormat, VideoError, read_frames, uniform_indices
from orl_jax.evaluation.ranked_answers import Answer
from orl_jax.models.assembly import Assembly, banned_tokens
from orl_jax.models.sampler import sample
from orl_jax.models.sequences import Prompt
from orl_jax.models.stream import Streamer, text_pieces
from orl_jax.models.vlm import VLM
from orl_jax.run.errors import Failure, UserError

_log = logging.getLogger(__name__)
PROMPT_LIMIT = 4096  # tokens of a prompt, unless the configuration allows more
_STEP = 64  # longer prompts than in training are padded to a multiple of this


class Clip(NamedTuple):
    """The frames of a video, uint8 [F, image_size, image_size, 3], and how many the file has."""

    path: str
    frames: np.ndarray
    total: int


class Chat:
    """A model and the video that it is asked about; `watch` comes first.

    Args:
      assembly: the model and its encoder.
      params: of the model.
      max_tokens: T, the most tokens in an answer.
      temperature: 0 takes the most likely token.
      seed: of the noise, which differs between questions.

    Attributes:
      video: path of the current video.
      encoder: encodes questions and decodes answers.
    """

    video: str

    def __init__(
        self,
        assembly: Assembly,
        params: dict[str, Any],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._params = params
        self.encoder = assembly.encoder
        self._wide = _with_room(self.encoder)
        self._compile(assembly, max_tokens, temperature)
        self._key = jax.random.key(seed)
        self._turn = 0

    def _compile(self, assembly: Assembly, max_tokens: int, temperature: float) -> None:
        ids = {"end_id": self.encoder.end_id, "pad_id": self.encoder.pad_id}
        how: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, **ids}
        self._layout = assembly.layout
        self._banned = banned_tokens(assembly)
        self._see = jax.jit(partial(_see, assembly.model))
        self._streamer = Streamer(assembly.model, self._params, self._banned, **how)
        draw = partial(sample, assembly.model, **how)
        self._sample = jax.jit(draw, static_argnames="group_size")

    def watch(self, clip: Clip) -> None:
        """Encodes a clip, which the next questions are about."""
        self._visual = self._see(self._params, self._layout.replicate(clip.frames[None]))
        self.video = clip.path
        read = len(set(uniform_indices(clip.total, len(clip.frames))))
        _log.info(
            "%s: %d of %d frames read, %d visual tokens",
            clip.path, read, clip.total, self._visual.shape[1],
        )  # fmt: skip

    def stream(self, question: str) -> Iterator[int]:
        """Yields the tokens of an answer as they are sampled; see `Streamer.stream`.

        Raises:
          UserError: the question is too long.
        """
        prompt = self._prompt(question)
        return self._streamer.stream(self._visual, prompt, self._next_key())

    def say(self, question: str) -> None:
        """Prints an answer to standard output as it is sampled, and logs if it was cut off.

        Raises:
          UserError: the question is too long.
        """
        tokens: list[int] = []
        for piece in text_pieces(self.encoder, _kept(self.stream(question), tokens)):
            print(piece, end="", flush=True)
        print(flush=True)
        if tokens[-1] != self.encoder.end_id:
            _log.info("broken off after %d tokens (--max_tokens)", len(tokens))

    def sample(self, question: str, count: int) -> list[Answer]:
        """Draws `count` answers at the chat's temperature.

        Raises:
          UserError: the question is too long.
        """
        drawn = self._sample(
            self._params, self._visual, self._prompt(question), self._banned, self._next_key(),
            group_size=count,
        )  # fmt: skip
        drawn = jax.device_get(drawn)
        return [
            Answer(*self.encoder.decode(row), float(log_prob.sum()))
            for row, log_prob in zip(drawn.ids[0], drawn.log_prob[0], strict=True)
        ]

    def _prompt(self, question: str) -> Prompt:
        """The question on the device, padded as in training, or further if it is longer."""
        ids, mask = self._wide.encode_prompt(question)
        trained = self.encoder.prompt_length
        count = int(mask.sum())
        length = trained if count <= trained else -(-count // _STEP) * _STEP
        unknown = int((ids[mask] == self.encoder.tokenizer.unk_token_id).sum())
        _log.info(
            "%d prompt tokens%s%s", count,
            f", {unknown} of them unknown words" if unknown else "",
            f"; the checkpoint was trained with {trained} at most" if count > trained else "",
        )  # fmt: skip
        return Prompt(*self._layout.replicate((ids[None, -length:], mask[None, -length:])))

    def _next_key(self) -> jax.Array:
        key = jax.random.fold_in(self._key, np.uint32(self._turn))
        self._turn += 1
        return key


def read_clip(video: str, clip_format: ClipFormat) -> Clip:
    """Reads a video for a model.

    Raises:
      UserError: the file is missing, empty, broken or without frames.

    Example: `chat.watch(read_clip("clip.mp4", ClipFormat.of(config.data)))`.
    """
    try:
        frames = read_frames(video, clip_format)
    except VideoError as error:
        raise UserError(f"video {error}") from error
    return Clip(video, frames, len(decord.VideoReader(video, num_threads=1)))


def converse(
    lines: Iterable[str], respond: Callable[[str], None], watch: Callable[[str], None]
) -> None:
    """Answers one question per line, until an empty line, /quit or the end of the lines.

    An error takes one line, and the next question is read; where a video is unreadable, the old one
    stays.

    Args:
      lines: for example those of standard input.
      respond: what to do with a question; may raise `UserError` or `Failure`.
      watch: what to do with the path of /video PATH; may raise the same.

    Example: `converse(sys.stdin, chat.say, lambda path: chat.watch(read_clip(path, clip_format)))`.
    """
    for line in map(str.strip, lines):
        command, _, rest = line.partition(" ")
        if line in ("", "/quit"):
            return
        try:
            if command == "/video":
                watch(os.path.expanduser(rest.strip()))
            elif command.startswith("/"):
                raise UserError(f"{command} is not a command; there are /video PATH and /quit")
            else:
                respond(line)
        except (UserError, Failure) as error:
            _log.error("error: %s", " ".join(str(error).split()))


def _with_room(encoder: PromptEncoder) -> PromptEncoder:
    """The encoder, for prompts of at least `PROMPT_LIMIT` tokens."""
    length = max(encoder.prompt_length, PROMPT_LIMIT)
    return PromptEncoder(encoder.tokenizer, encoder.visual_tokens, length, encoder.response_length)


def _see(model: VLM, params: dict[str, Any], frames: jax.Array) -> jax.Array:
    return model.apply({"params": params}, frames, method=VLM.see)


def _kept(tokens: Iterable[int], kept: list[int]) -> Iterator[int]:
    for token in tokens:
        kept.append(token)
        yield token

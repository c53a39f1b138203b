"""How questions are asked, and answers sampled: `config.evaluation` and what it builds on."""

import dataclasses
from typing import Self

from ml_collections import ConfigDict

from orl_jax.data.video_settings import VideoSettings
from orl_jax.ops.truncation import WHOLE, Truncation


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """What an `Evaluator` needs to know besides the model.

    Args:
      videos: where the videos are and how they are read.
      batch_size: questions at a time.
      samples: sampled answers per question, in addition to the greedy one; 0 for none.
      temperature, truncation: of the sampled answers, as in RL.
      max_tokens: T, of an answer; longer ones are cut off.
      prompt_tokens: L, of a prompt; 0 for as many as in training.
      response_tokens: of the options that are weighed; 0 for as many as in training.
      seed: of the sampled answers.
      choice: how multiple-choice questions are answered, one of `prediction.CHOICES`.
      subtitles: whether prompts show the subtitles at the times of the frames.
      validation_items: questions of the validation split that `Evaluator.validation` asks.
      cache_mb: decoded frames to keep, in 10^6 bytes, where no cache is given.
      vocabulary_chunk: tokens of the vocabulary at a time, to save memory; 0 for all at once.

    Example: `EvaluationSettings.of(config)`, or
    `EvaluationSettings(VideoSettings("data/shapes", ClipFormat(8, 64)), max_tokens=12)`.
    """

    videos: VideoSettings
    max_tokens: int
    batch_size: int = 64
    samples: int = 0
    temperature: float = 1.0
    prompt_tokens: int = 0
    response_tokens: int = 0
    seed: int = 0
    choice: str = "letter"
    subtitles: bool = False
    validation_items: int = 256
    cache_mb: float = 0.0
    vocabulary_chunk: int = 0
    truncation: Truncation = WHOLE

    @classmethod
    def of(cls, config: ConfigDict) -> Self:
        """The settings in a whole configuration."""
        section = config.evaluation
        return cls(
            videos=VideoSettings.of(config.data),
            max_tokens=section.response_tokens or config.rl.max_response_tokens,
            batch_size=section.batch_size,
            samples=section.samples,
            temperature=config.rl.temperature,
            prompt_tokens=section.prompt_tokens,
            response_tokens=section.response_tokens,
            seed=config.seed,
            choice=section.choice,
            subtitles=section.subtitles,
            validation_items=section.validation_items,
            cache_mb=config.data.cache_mb,
            vocabulary_chunk=config.model.vocabulary_chunk,
            truncation=Truncation(config.rl.top_k, config.rl.top_p, config.rl.min_p),
        )

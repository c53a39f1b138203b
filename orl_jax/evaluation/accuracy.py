"""Held-out accuracy: the share of answers that equal the reference or an accepted paraphrase.

Greedy answers, and sampled ones at the rollout's temperature; overall and by task type.
"""

import dataclasses
import json
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.data.answer_text import is_correct
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.pipeline import batches
from orl_jax.data.source import Items, open_split, select
from orl_jax.models.vlm import VLM
from orl_jax.rollout.sampler import sample
from orl_jax.sharding import processes
from orl_jax.training.assembly import Assembly, banned_tokens


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One item with the model's answers; `samples_correct` is the share of the sampled ones.

    `options` are those of a multiple-choice question, `extra` what its benchmark's forms need.
    """

    item_id: str
    task_type: str
    video: str
    question: str
    reference: str
    paraphrases: list[str]
    response: str
    correct: bool
    samples: list[str]
    samples_correct: float
    options: list[str] = dataclasses.field(default_factory=list)
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


class Evaluator:
    """Answers the questions of a split; compiled once, used for any parameters.

    Args:
      config: reads `data`, `evaluation`, `rl.{temperature,max_response_tokens}`.
      assembly: the model and its encoder.
      cache: decoded frames, shared with training.
    """

    def __init__(self, config: ConfigDict, assembly: Assembly, cache: FrameCache | None = None):
        self._config = config
        self._assembly = assembly
        self._cache = cache
        self._banned = banned_tokens(assembly)
        self._layout = assembly.layout
        self._answer = self._layout.jit(self._answer_both, out_shardings=self._layout.batch)

    def validation(self, params: dict[str, Any]) -> dict[str, float]:
        """Metrics of the first `evaluation.validation_items` of the validation split."""
        items = select(
            open_split(self._config.data.folder, "validation"),
            max_items=self._config.evaluation.validation_items,
        )
        result = summarise(self.predict(params, items))
        metrics = {
            "validation/accuracy": result["accuracy"],
            "validation/sampled_accuracy": result["sampled_accuracy"],
        }
        for name, category in result["categories"].items():
            metrics[f"validation/category/{name}"] = category["accuracy"]
        return metrics

    def predict(self, params: dict[str, Any], items: Items, progress: str = "") -> list[Prediction]:
        """Answers every item, in order. `progress` names a progress bar."""
        data, settings = self._config.data, self._config.evaluation
        loader = batches(
            items,
            encoder=self._assembly.encoder,
            frames=data.frames,
            image_size=data.image_size,
            framing=data.get("framing", "crop"),
            video_folder=data.folder,
            batch_size=settings.batch_size,
            bad_video=data.bad_video,
            cache=self._cache,
            answers=None,
            **processes.share(),
        )
        predictions: list[Prediction] = []
        quiet = not progress or not processes.is_writer()
        with loader, tqdm(total=len(items), desc=progress, disable=quiet) as bar:
            for index, batch in enumerate(loader):
                names = ("frames", "prompt_ids", "prompt_mask")
                arrays = self._layout.rows([batch[name] for name in names])
                noise = self._layout.replicate(np.asarray(index, np.int32))
                answers = self._layout.local_rows(
                    self._answer(params, *arrays, self._banned, noise)
                )
                mine = list(self._read(batch["items"], *answers))
                everyone = processes.gather_rows([dataclasses.asdict(p) for p in mine])
                predictions += [Prediction(**row) for row in everyone]
                bar.update(len(everyone))
        return predictions

    def _answer_both(
        self,
        params: dict[str, Any],
        frames: jax.Array,
        prompt_ids: jax.Array,
        prompt_mask: jax.Array,
        banned: jax.Array,
        index: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Greedy ids [B, 1, T] and sampled ids [B, samples, T] of the batch number `index`."""
        key = jax.random.fold_in(jax.random.key(self._config.seed), index)
        model, rl = self._assembly.model, self._config.rl
        visual = model.apply({"params": params}, frames, method=VLM.see)
        draw = partial(
            sample, model, params, visual, prompt_ids, prompt_mask, banned, key,
            max_tokens=rl.max_response_tokens,
            end_id=self._assembly.encoder.end_id, pad_id=self._assembly.encoder.pad_id,
        )  # fmt: skip
        greedy = draw(group_size=1, temperature=0.0)
        sampled = draw(group_size=self._config.evaluation.samples, temperature=rl.temperature)
        return greedy.ids, sampled.ids

    def _read(
        self, items: Sequence[dict[str, Any]], greedy: np.ndarray, sampled: np.ndarray
    ) -> Iterable[Prediction]:
        for item, ids, draws in zip(items, greedy, sampled, strict=False):  # padding is last
            response, samples = self._text(ids[0]), [self._text(draw) for draw in draws]
            right = partial(is_correct, reference=item["answer"], paraphrases=item["paraphrases"])
            yield Prediction(
                item["item_id"], item["task_type"], item["video"], item["question"],
                item["answer"], list(item["paraphrases"]), response, right(response),
                samples, float(np.mean([right(text) for text in samples])),
                list(item.get("options") or ()), json.loads(item.get("extra") or "{}"),
            )  # fmt: skip

    def _text(self, ids: np.ndarray) -> str:
        return self._assembly.encoder.decode(ids)[0]


def summarise(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """`n`, `accuracy`, `sampled_accuracy` of all, and of each task type under `categories`."""
    by_type: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_type[prediction.task_type].append(prediction)
    categories = {name: _share(of_type) for name, of_type in sorted(by_type.items())}
    return {**_share(predictions), "categories": categories}


def _share(predictions: Sequence[Prediction]) -> dict[str, Any]:
    return {
        "n": len(predictions),
        "accuracy": float(np.mean([p.correct for p in predictions])),
        "sampled_accuracy": float(np.mean([p.samples_correct for p in predictions])),
    }


def write_predictions(path: pathlib.Path, predictions: Sequence[Prediction]) -> None:
    """One JSON object a line, `extra`'s keys among the others; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.asdict(prediction) for prediction in predictions]
    path.write_text("".join(json.dumps({**row.pop("extra"), **row}) + "\n" for row in rows))

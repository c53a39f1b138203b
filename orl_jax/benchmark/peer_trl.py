"""A whole step of TRL's `GRPOTrainer` on the CPU, and the seconds of its parts.

Its settings are what is fastest there among those that leave the step what it is: float32, no
gradient checkpointing (TRL's default trades time for memory), one optimiser step for each
generation (so no old log-probabilities are scored), a key-value cache, the SDPA attention of torch,
all cores, nothing logged or saved, no padding to multiples.
"""

import collections
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from orl_jax.benchmark.peer_model import TARGETS, Seconds, Sizes, reward
from orl_jax.data.tokenizer import load_tokenizer

PARTS = ("generation", "reference", "loss", "backward", "optimiser", "rest")


class TimedTrainer(GRPOTrainer):
    """Adds up where a step's time goes, in `spent`."""

    spent: collections.Counter[str]

    def _timed(self, name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        result = call(*args, **kwargs)
        self.spent[name] += time.perf_counter() - begin
        return result

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed("generation", super()._generate_single_turn, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        name = "loss" if torch.is_grad_enabled() else "reference"
        return self._timed(name, super()._get_per_token_logps_and_entropies, *args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Times the backward pass, which it asks the accelerator for."""
        backward = self.accelerator.backward
        self.accelerator.backward = lambda *a, **k: self._timed("backward", backward, *a, **k)
        try:
            return super().training_step(*args, **kwargs)
        finally:
            self.accelerator.backward = backward


class Between(TrainerCallback):
    """Takes a step's time, and runs something else between two steps.

    Args:
      between: called after each step but the last; not counted.
      steps: to make.
    """

    def __init__(self, between: Callable[[], Any], steps: int) -> None:
        self.found: list[Seconds] = []
        self.trainer: Any = None
        self._between, self._steps = between, steps
        self._begin = self._optimising = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._start()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._optimising = time.perf_counter()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.trainer.spent["optimiser"] += time.perf_counter() - self._optimising

    def on_step_end(self, *_: Any, **__: Any) -> None:
        total, spent = time.perf_counter() - self._begin, self.trainer.spent
        known = {name: spent[name] for name in PARTS[:-1]}
        self.found.append({"total": total, **known, "rest": total - sum(known.values())})
        if len(self.found) < self._steps:
            self._between()
        self._start()

    def _start(self) -> None:
        self.trainer.spent = collections.Counter()
        self._begin = time.perf_counter()


class Trl:
    """The peer as `peer.compare` wants one.

    Args:
      folder: of the model.
      prompts: B texts; every step sees all of them.
    """

    def __init__(self, folder: pathlib.Path, sizes: Sizes, prompts: Sequence[str]) -> None:
        self._folder, self._sizes, self._prompts = folder, sizes, prompts

    def log_probs(self, prompts: np.ndarray, answers: np.ndarray) -> np.ndarray:
        """[N, T] of answers [N, T] to prompts [N, L], at temperature 1."""
        rows = torch.from_numpy(np.concatenate([prompts, answers], axis=1)).long()
        length = answers.shape[1]
        with torch.no_grad():
            logits = self._load()(rows, logits_to_keep=length + 1).logits[:, :-1]
        found = logits.log_softmax(-1).gather(-1, rows[:, -length:, None])
        return found[..., 0].numpy()

    def train(self, steps: int, between: Callable[[], Any]) -> list[Seconds]:
        """Seconds of each of `steps` steps, whole and by `PARTS`; the first is the warm-up.

        Args:
          between: see `Between`.
        """
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        callback = Between(between, steps)
        trainer = TimedTrainer(
            model=self._load(),
            args=_settings(str(self._folder.parent / "trl"), self._sizes, steps),
            reward_funcs=_rewards,
            train_dataset=Dataset.from_dict({"prompt": list(self._prompts) * steps}),
            processing_class=load_tokenizer(self._folder),
            peft_config=_lora(self._sizes),
            callbacks=[callback],
        )
        trainer.remove_callback(PrinterCallback)
        callback.trainer = trainer
        trainer.train()
        return callback.found

    def _load(self) -> Any:
        """The folder as a model of transformers, float32."""
        return AutoModelForCausalLM.from_pretrained(
            self._folder, dtype=torch.float32, attn_implementation="sdpa"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


def _rewards(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    return [reward(ids) for ids in completion_ids]


def _lora(sizes: Sizes) -> LoraConfig:
    return LoraConfig(
        r=sizes.rank, lora_alpha=2 * sizes.rank, lora_dropout=0.0, target_modules=list(TARGETS),
        task_type="CAUSAL_LM",
    )  # fmt: skip


def _settings(folder: str, sizes: Sizes, steps: int) -> GRPOConfig:
    return GRPOConfig(
        output_dir=folder, max_steps=steps, use_cpu=True, bf16=False, seed=0,
        per_device_train_batch_size=sizes.prompts * sizes.group, gradient_accumulation_steps=1,
        num_generations=sizes.group, max_completion_length=sizes.response, num_iterations=1,
        temperature=1.0, beta=0.02, learning_rate=1e-4, max_grad_norm=1.0, weight_decay=0.0,
        # The end token is banned to the last: no answer ends early.
        generation_kwargs={"min_new_tokens": sizes.response},
        gradient_checkpointing=False, pad_to_multiple_of=None, shuffle_dataset=False,
        save_strategy="no", logging_strategy="no", eval_strategy="no", report_to="none",
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip

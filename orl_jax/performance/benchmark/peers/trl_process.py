"""TRL's side of a comparison: whole steps of its `GRPOTrainer`, on the CPU.

The settings are the fastest that compute the same step: float32, no gradient checkpointing (TRL's
default trades time for memory), one optimiser step per generation (so no old log-probabilities are
scored), a key-value cache, torch's SDPA attention, all cores, no logging or saving, no padding to
multiples.
"""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peer_protocol import PeerConnection
from peft import LoraConfig
from reward import reward
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

_ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class TimedTrainer(GRPOTrainer):
    """Records the time of each part of a step."""

    connection: PeerConnection

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        return self.connection.timed("generation", super()._generate_single_turn, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        name = "loss" if torch.is_grad_enabled() else "reference"
        call = super()._get_per_token_logps_and_entropies
        return self.connection.timed(name, call, *args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Also times the backward pass, which is run by the accelerator."""
        backward = self.accelerator.backward
        self.accelerator.backward = partial(self.connection.timed, "backward", backward)
        try:
            return super().training_step(*args, **kwargs)
        finally:
            self.accelerator.backward = backward


class StepByStep(TrainerCallback):
    """Waits for the request of each step and replies with its seconds."""

    def __init__(self, connection: PeerConnection, steps: int) -> None:
        self._connection, self._left = connection, steps

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._connection.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._connection.end()
        self._left -= 1
        if self._left:
            self._connection.begin()


def main() -> None:
    """Serves requests until standard input ends."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    connection = PeerConnection()
    model = _load(connection.job["folder"])
    connection.serve(
        lambda prompts, answers: _log_probs(model, prompts, answers),
        lambda steps: _train(connection, model, steps),
        ("trl", "torch", "transformers", "peft"),
    )


def _load(folder: str) -> Any:
    """A transformers model in float32."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa"
    )


def _log_probs(model: Any, prompts: np.ndarray, answers: np.ndarray) -> np.ndarray:
    rows = torch.from_numpy(np.concatenate([prompts, answers], axis=1)).long()
    length = answers.shape[1]
    with torch.no_grad():
        logits = model(rows, logits_to_keep=length + 1).logits[:, :-1]
    found = logits.log_softmax(-1).gather(-1, rows[:, -length:, None])
    return found[..., 0].numpy()


def _train(connection: PeerConnection, model: Any, steps: int) -> None:
    job = connection.job
    trainer = TimedTrainer(
        model=model,
        args=_settings(job["folder"] + ".trl", job["sizes"], steps),
        reward_funcs=_rewards,
        train_dataset=Dataset.from_dict({"prompt": job["prompts"] * steps}),
        processing_class=AutoTokenizer.from_pretrained(job["folder"]),
        peft_config=LoraConfig(
            r=job["sizes"]["rank"], lora_alpha=2 * job["sizes"]["rank"], lora_dropout=0.0,
            target_modules=list(_ADAPTED), task_type="CAUSAL_LM",
        ),
        callbacks=[StepByStep(connection, steps)],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.connection = connection
    trainer.train()


def _rewards(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    return [reward(ids) for ids in completion_ids]


def _settings(folder: str, sizes: dict[str, int], steps: int) -> GRPOConfig:
    return GRPOConfig(
        output_dir=folder, max_steps=steps, use_cpu=True, bf16=False, seed=0,
        per_device_train_batch_size=sizes["prompts"] * sizes["group"],
        gradient_accumulation_steps=1, num_generations=sizes["group"],
        max_completion_length=sizes["response"], num_iterations=1,
        temperature=1.0, beta=0.02, learning_rate=1e-4, max_grad_norm=1.0, weight_decay=0.0,
        # The end token is banned throughout: no answer ends early.
        generation_kwargs={"min_new_tokens": sizes["response"]},
        gradient_checkpointing=False, pad_to_multiple_of=None, shuffle_dataset=False,
        save_strategy="no", logging_strategy="no", eval_strategy="no", report_to="none",
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()

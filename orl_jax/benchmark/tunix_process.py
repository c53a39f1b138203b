"""Tunix's side of a comparison: a program of its own, as Tunix pins versions of its libraries.

Started by `peer_tunix` with a Python that has Tunix (0.1.7 was tried), so nothing of this project
is imported. Both sides talk in lines of JSON: the job is the only argument, and each request on
standard input gets one reply on standard output.

    {"log_probs": "batch.npz"}  -> {"log_probs": "found.npy"}
    {"train": 6}                -> {}, then after each {"go": true} the seconds of one step

Its settings are what is fastest there: float32, no rematerialisation, one batch a step without
micro-batches, a cache as long as prompt and answer, full softmax sampling as on the other sides.
"""

import collections
import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import qwix
from flax import nnx
from transformers import AutoTokenizer
from tunix.models.llama3 import model as llama
from tunix.models.llama3.params import create_model_from_safe_tensors
from tunix.rl import common
from tunix.rl import rl_cluster as cluster
from tunix.rl.grpo import grpo_learner as grpo
from tunix.rl.rollout.base_rollout import RolloutConfig

PARTS = ("generation", "reference", "update", "rest")
_ADAPTED = ".*q_proj|.*k_proj|.*v_proj|.*o_proj|.*gate_proj|.*up_proj|.*down_proj"
_NEVER = 10**9


class Ids:
    """A tokenizer as Tunix wants it; answers are decoded to their ids, as words.

    No end and no padding is in the vocabulary, so that no answer ends early.
    """

    def __init__(self, folder: str, vocabulary: int) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._vocabulary = vocabulary

    def encode(self, text: str, **_: Any) -> list[int]:
        return self._tokenizer(text)["input_ids"]

    def decode(self, ids: Any, **_: Any) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        return 0  # adds none; `encode` did

    def eos_id(self) -> int:
        return self._vocabulary

    def pad_id(self) -> int:
        return self._vocabulary + 1


def main() -> None:
    """Serves requests until standard input ends."""
    job = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no reply

    def reply(value: Any) -> None:
        replies.write(json.dumps(value) + "\n")

    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    with mesh:
        model = _load(job, mesh)
        reply({"ready": True})
        for line in iter(sys.stdin.readline, ""):
            request = json.loads(line)
            if "log_probs" in request:
                reply({"log_probs": _log_probs(model, request["log_probs"])})
            else:
                _train(job, mesh, model, request["train"], reply)


def _load(job: dict[str, Any], mesh: Any) -> Any:
    sizes = job["sizes"]
    config = llama.ModelConfig(
        num_layers=sizes["layers"], vocab_size=sizes["vocabulary"], embed_dim=sizes["width"],
        hidden_dim=sizes["mlp_width"], num_heads=job["heads"], num_kv_heads=job["heads"],
        head_dim=sizes["width"] // job["heads"], rope_theta=job["rope_base"], norm_eps=1e-5,
        weight_tying=False,
    )  # fmt: skip
    return create_model_from_safe_tensors(job["folder"], config, mesh, dtype=jnp.float32)


def _log_probs(model: Any, path: str) -> str:
    """Of the answers in a file of prompts [B, L] and answers [B, T]."""
    batch = np.load(path)
    ids = jnp.asarray(np.concatenate([batch["prompts"], batch["answers"]], axis=1))
    rows, length = ids.shape
    positions = jnp.broadcast_to(jnp.arange(length), (rows, length))
    causal = jnp.broadcast_to(jnp.tril(jnp.ones((length, length), bool)), (rows, length, length))
    found = common.get_per_token_logps(model, ids, positions, causal, batch["answers"].shape[1])
    target = path + ".found.npy"
    np.save(target, np.asarray(found))
    return target


def _train(job: dict[str, Any], mesh: Any, model: Any, steps: int, reply: Any) -> None:
    adapted = qwix.apply_lora_to_model(
        model,
        qwix.LoraProvider(
            module_path=_ADAPTED, rank=job["sizes"]["rank"], alpha=2.0 * job["sizes"]["rank"]
        ),
        rngs=nnx.Rngs(0),
        **model.get_model_input(),
    )
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    nnx.update(adapted, jax.device_put(nnx.state(adapted), whole))
    trained = cluster.RLCluster(
        actor=adapted, reference=model, cluster_config=_settings(job, mesh, steps),
        tokenizer=Ids(job["folder"], job["sizes"]["vocabulary"]),
    )  # fmt: skip
    learner = grpo.GRPOLearner(
        rl_cluster=trained, reward_fns=_reward,
        algo_config=grpo.GRPOConfig(
            num_generations=job["sizes"]["group"], num_iterations=1, beta=0.02, epsilon=0.2
        ),
    )  # fmt: skip
    _take_times(learner, trained, reply)
    reply({})
    learner.train([{"prompts": np.array(job["prompts"])}] * steps)


def _settings(job: dict[str, Any], mesh: Any, steps: int) -> Any:
    sizes = job["sizes"]
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(1e-4, weight_decay=0.0)
    )  # fmt: skip
    return cluster.ClusterConfig(
        role_to_mesh=dict.fromkeys(
            (cluster.Role.ACTOR, cluster.Role.REFERENCE, cluster.Role.ROLLOUT), mesh
        ),
        rollout_engine="vanilla",
        offload_to_cpu=False,
        training_config=cluster.RLTrainingConfig(
            actor_optimizer=optimizer, eval_every_n_steps=_NEVER, max_steps=steps,
            mini_batch_size=sizes["prompts"], metrics_logging_options=None,
            checkpoint_root_directory=None,
        ),
        rollout_config=RolloutConfig(
            max_tokens_to_generate=sizes["response"], max_prompt_length=sizes["prompt"],
            kv_cache_size=sizes["prompt"] + sizes["response"], temperature=1.0, top_p=1.0,
            top_k=None,
        ),
    )  # fmt: skip


def _reward(completions: Any, **_: Any) -> list[float]:
    """As `peer_model.reward`."""
    return [float(sum(map(int, text.split())) % 7) for text in completions]


def _take_times(learner: Any, trained: Any, reply: Any) -> None:
    """Waits for leave before each step, and says the seconds of its parts after it."""
    spent: collections.Counter[str] = collections.Counter()

    def actor() -> Any:
        return jax.tree.leaves(nnx.state(trained.actor_trainer.model))

    def timed(name: str, part: str) -> None:
        call = getattr(trained, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            result = call(*args, **kwargs)
            jax.block_until_ready(actor() if part == "update" else result)
            spent[part] += time.perf_counter() - begin
            return result

        setattr(trained, name, wrapped)

    timed("generate", "generation")
    timed("get_ref_per_token_logps", "reference")
    timed("update_actor", "update")
    step = learner._run_global_step

    def one(*args: Any, **kwargs: Any) -> None:
        if not sys.stdin.readline():
            raise SystemExit
        spent.clear()
        begin = time.perf_counter()
        step(*args, **kwargs)
        jax.block_until_ready(actor())
        total = time.perf_counter() - begin
        known = {name: spent[name] for name in PARTS[:-1]}
        reply({"total": total, **known, "rest": total - sum(known.values())})

    learner._run_global_step = one


if __name__ == "__main__":
    main()

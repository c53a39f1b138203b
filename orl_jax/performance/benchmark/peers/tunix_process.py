"""Tunix's side of a comparison: whole steps of its `GRPOLearner`; tested with 0.1.7.

The settings are its fastest: float32, no rematerialisation, one batch per step without
micro-batches, a cache as long as prompt and answer, full softmax sampling as on the other sides.
"""

import os
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import qwix
from flax import nnx
from peer_protocol import PeerConnection
from reward import reward
from transformers import AutoTokenizer
from tunix.models.llama3 import model as llama
from tunix.models.llama3.params import create_model_from_safe_tensors
from tunix.rl import common
from tunix.rl import rl_cluster as cluster
from tunix.rl.grpo import grpo_learner as grpo
from tunix.rl.rollout.base_rollout import RolloutConfig

_ADAPTED = ".*q_proj|.*k_proj|.*v_proj|.*o_proj|.*gate_proj|.*up_proj|.*down_proj"
_NEVER = 10**9


class Ids:
    """A tokenizer for Tunix that decodes answers to their ids, as words.

    The end and padding ids are outside the vocabulary, so no answer ends early.
    """

    def __init__(self, folder: str, vocabulary: int) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._vocabulary = vocabulary

    def encode(self, text: str, **_: Any) -> list[int]:
        return self._tokenizer(text)["input_ids"]

    def decode(self, ids: Any, **_: Any) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        return 0  # unused; `encode` has added it

    def eos_id(self) -> int:
        return self._vocabulary

    def pad_id(self) -> int:
        return self._vocabulary + 1


def main() -> None:
    """Serves requests until standard input ends."""
    connection = PeerConnection()
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    with mesh:
        model = _load(connection.job, mesh)
        connection.serve(
            lambda prompts, answers: _log_probs(model, prompts, answers),
            lambda steps: _train(connection, mesh, model, steps),
            ("google-tunix", "jax", "flax", "qwix"),
        )


def _load(job: dict[str, Any], mesh: Any) -> Any:
    sizes = job["sizes"]
    config = llama.ModelConfig(
        num_layers=sizes["layers"], vocab_size=sizes["vocabulary"], embed_dim=sizes["width"],
        hidden_dim=sizes["mlp_width"], num_heads=job["heads"], num_kv_heads=job["heads"],
        head_dim=sizes["width"] // job["heads"], rope_theta=job["rope_base"], norm_eps=1e-5,
        weight_tying=False,
    )  # fmt: skip
    return create_model_from_safe_tensors(job["folder"], config, mesh, dtype=jnp.float32)


def _log_probs(model: Any, prompts: np.ndarray, answers: np.ndarray) -> np.ndarray:
    ids = jnp.asarray(np.concatenate([prompts, answers], axis=1))
    rows, length = ids.shape
    positions = jnp.broadcast_to(jnp.arange(length), (rows, length))
    causal = jnp.broadcast_to(jnp.tril(jnp.ones((length, length), bool)), (rows, length, length))
    found = common.get_per_token_logps(model, ids, positions, causal, answers.shape[1])
    return np.asarray(found)


def _train(connection: PeerConnection, mesh: Any, model: Any, steps: int) -> None:
    job = connection.job
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
    _time_steps(learner, trained, connection)
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
    return [reward(map(int, text.split())) for text in completions]


def _time_steps(learner: Any, trained: Any, connection: PeerConnection) -> None:
    """Makes each step wait for its request, and times its parts."""

    def actor() -> Any:
        return jax.tree.leaves(nnx.state(trained.actor_trainer.model))

    def timed(name: str, part: str) -> None:
        call = getattr(trained, name)

        def whole(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            jax.block_until_ready(actor() if part == "update" else result)
            return result

        setattr(trained, name, lambda *a, **k: connection.timed(part, whole, *a, **k))

    timed("generate", "generation")
    timed("get_ref_per_token_logps", "reference")
    timed("update_actor", "update")
    step = learner._run_global_step

    def one(*args: Any, **kwargs: Any) -> None:
        connection.begin()
        step(*args, **kwargs)
        jax.block_until_ready(actor())
        connection.end()

    learner._run_global_step = one


if __name__ == "__main__":
    main()

"""RL over a quantised base: what moves, what does not, and that rollout and update agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.source import open_split
from orl_jax.models import assembly as assemblies
from orl_jax.models.llama import Llama
from orl_jax.models.params import combine, flatten
from orl_jax.models.quantised import dequantise, quantise
from orl_jax.oracles import make_oracle
from orl_jax.rl import stage as rl
from orl_jax.rl.asking import Asker
from orl_jax.run.metrics import MetricsWriter

pytestmark = pytest.mark.heavy

# The largest gap between the log-probabilities of the sampler and of the update, in nats. In
# bfloat16 a logit of size 4 is a multiple of 1/64; the two graphs round in different places.
GAPS = {"float32": 1e-3, "bfloat16": 0.1}


def quantised(config, dtype="float32", kind="nf4"):
    settings = config.copy_and_resolve_references().unlock()
    settings.model.language.update(quantisation=kind, quantisation_block=4, dtype=dtype)
    settings.rl.update(rollouts_every=100, validate_every=0, warmup_steps=0)
    return settings.lock()


def make_learner(config, workdir):
    assembly = assemblies.assemble(config, lora=True)
    pretrained = assemblies.load_params(f"{workdir}/checkpoints/sft", assembly.layout)
    params = assemblies.initial_params(assembly, config.seed, pretrained)
    items = open_split(config.data.folder, "train")
    asker = Asker(make_oracle(config.oracle.to_dict()))
    learner = rl.make_learner(config, assembly, params, asker, workdir, len(items))
    return learner, rl.make_loader(config, assembly, items, FrameCache(16))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_update_changes_only_adapters_and_agrees_with_the_sampler(run, tmp_path, dtype):
    config, workdir = run
    learner, batches = make_learner(quantised(config, dtype), workdir)
    before = jax.tree.map(np.array, learner.policy.frozen)
    state = learner.start()
    first = jax.tree.map(np.array, state.trained)
    with MetricsWriter(str(tmp_path), "rl") as metrics, batches:
        for _ in range(2):  # after the first, lora_b is no longer 0, and lora_a gets a gradient
            state, values = learner.rl_step(state, next(batches), metrics)
    assert {path.rpartition("/")[2] for path in flatten(first)} == {"lora_a", "lora_b"}
    for path, value in flatten(state.trained).items():
        assert value.dtype == jnp.float32
        assert not np.array_equal(value, flatten(first)[path]), path
    assert any(path.endswith("/codes") for path in flatten(before))
    for path, value in flatten(learner.policy.frozen).items():
        np.testing.assert_array_equal(value, flatten(before)[path], err_msg=path)
    for path, value in flatten(state.reference).items():
        np.testing.assert_array_equal(value, flatten(first)[path], err_msg=path)
    assert values["sampler/logprob_gap_max"] < GAPS[dtype]


def test_loading_quantises_exactly_as_before(run):
    config, workdir = run
    learner, batches = make_learner(quantised(config), workdir)
    batches.close()
    _, again = assemblies.restore(quantised(config), f"{workdir}/checkpoints/sft")
    policy = flatten(combine(learner.policy.frozen, learner.policy.trained))
    whole = flatten(assemblies.load_params(f"{workdir}/checkpoints/sft"))
    for path, value in flatten(again).items():
        np.testing.assert_array_equal(value, policy[path], err_msg=path)
    for name in ("q", "k", "v", "o", "gate", "up", "down"):
        path = f"language/layers/{name}"
        for layer, kernel in enumerate(whole[f"{path}/kernel"]):
            stored = (policy[f"{path}/codes"][layer], policy[f"{path}/scales"][layer])
            expected = dequantise(**quantise(jnp.asarray(kernel), "nf4", 4))
            np.testing.assert_array_equal(dequantise(*stored), expected)


def test_fresh_kernels_are_never_whole_in_float32():
    few, many = (_memory_to_draw(layers) for layers in (4, 16))
    in_float32 = 12 * 4 * (4 * 64 * 64 + 3 * 64 * 256)  # bytes of the twelve more layers
    assert many - few < in_float32 / 10


def _memory_to_draw(layers):
    """Bytes that drawing the parameters takes in addition to them."""
    model = Llama(16, 64, layers, 4, 4, 256, quantisation="nf4", quantisation_block=64)
    inputs = (jnp.zeros((1, 1, 2, 64)), jnp.zeros((1, 1, 2), int), jnp.ones((1, 1, 2), bool))
    draw = jax.jit(lambda key: model.init(key, *inputs)["params"])
    return draw.lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes


def test_a_quantised_kernel_is_not_trained_by_mistake(run, tmp_path):
    config, workdir = run
    settings = quantised(config).unlock()
    settings.rl.trainable = ((".*", "train"),)
    with pytest.raises(Exception, match="codes, which is quantised"):
        make_learner(settings, workdir)

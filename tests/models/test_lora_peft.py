"""LoRA against PEFT: logits, and gradients of the adapters of all seven projections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from orl_jax.models.llama import Llama
from orl_jax.models.params import combine, flatten

RANK, ALPHA, LAYERS = 4, 6.0, 2
IDS = np.random.default_rng(0).integers(0, 11, (2, 7))
WEIGHTS = np.random.default_rng(1).normal(size=(2, 7, 11)).astype("f4")


@pytest.fixture(scope="module")
def theirs():
    """Logits; by our names, the base, the adapters and the adapters' gradients."""
    torch = pytest.importorskip("torch", reason="parity with PEFT needs torch")
    peft = pytest.importorskip("peft", reason="parity with PEFT needs peft")
    base = torch_weights.torch_llama()
    params = torch_weights.llama(torch_weights.randomised(base), LAYERS)
    modules = [name.rpartition(".")[2] for name in torch_weights.PROJECTIONS.values()]
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=modules)
    model = peft.get_peft_model(base, config)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in trained.values():
            value.normal_(std=0.3, generator=generator)
    logits = model(input_ids=torch.tensor(IDS)).logits
    (logits * torch.tensor(WEIGHTS)).sum().backward()
    values = {name: value.detach().numpy() for name, value in trained.items()}
    gradients = {name: value.grad.numpy() for name, value in trained.items()}
    parts = (torch_weights.adapters(state, LAYERS) for state in (values, gradients))
    return logits.detach().numpy(), params, *parts


@pytest.fixture(scope="module")
def ours(theirs):
    """Logits and gradients of the adapters."""
    _, params, adapters, _ = jax.tree.map(jnp.asarray, theirs)
    model = Llama(**torch_weights.LLAMA, lora_rank=RANK, lora_alpha=ALPHA)
    positions = jnp.broadcast_to(jnp.arange(7), (2, 1, 7))

    def logits(model):
        x = model.embed(jnp.asarray(IDS))[:, None]
        hidden, _ = model(x, positions, jnp.ones((2, 1, 7), bool))
        return hidden[:, 0] @ model.vocabulary_kernel()

    def loss(adapters):
        whole = combine(params, {"layers": adapters})
        out = model.apply({"params": whole}, method=logits)
        return (out * WEIGHTS).sum(), out

    gradients, out = jax.jit(jax.grad(loss, has_aux=True))(adapters)
    return out, gradients


def test_logits(theirs, ours):
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)


def test_gradients(theirs, ours):
    expected, out = flatten(theirs[3]), flatten(ours[1])
    assert set(out) == set(expected)
    assert len(out) == 2 * 7
    for path, value in expected.items():
        size = np.abs(value).max(axis=(1, 2), keepdims=True)  # of each layer
        assert (size > 1e-2).all(), path
        np.testing.assert_allclose(out[path] / size, value / size, atol=1e-3, err_msg=path)

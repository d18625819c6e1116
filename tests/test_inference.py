"""Inference against `transformers`' CodeGen, and what it leaves out."""

import numpy as np
import pytest
import torch

from progsem.lm.codegen import inference
from progsem.lm.codegen import model as codegen

SHAPES = [
    codegen.Shape(40, 2, 32, 4, 8),
    codegen.Shape(23, 3, 64, 4, 16),
    codegen.Shape(34, 1, 128, 4, 32),
    codegen.Shape(56, 2, 128, 4, 8),
]


def made(shape: codegen.Shape) -> codegen.CodeGen:
    model = codegen.CodeGen(shape)
    model.initialise(1, 0.2)  # wide enough that every term matters
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model.eval()


@pytest.mark.parametrize("shape", SHAPES)
def test_same_states_as_transformers(shape, tmp_path):
    """The last positions of some documents, then token by token for those that go on."""
    from transformers import AutoModelForCausalLM

    model = made(shape)
    model.save(tmp_path / "model.safetensors", tmp_path / "config.json")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.randint(0, shape.vocabulary, (9, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(tokens, output_hidden_states=True)
    ready = model.inference(torch.float32)
    cache = ready.cache()
    states = ready.prefill(tokens[:, :36], cache, 5, 40)
    assert len(states) == shape.layers + 1
    for ours, reference in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, reference[:, 31:36], rtol=1e-4, atol=1e-5)
    for at, rows in zip(range(36, 40), map(torch.tensor, ([1, 3, 4, 8], [1, 4, 8], [1, 8], [8])), strict=True):
        states = ready.step(tokens[rows, at], cache, rows, at)
        for ours, reference in zip(states, expected.hidden_states, strict=True):
            torch.testing.assert_close(ours, reference[rows, at], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ready.logits(states[-1]), expected.logits[rows, 39], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_keys_of_another_batch_leave_nothing(precision):
    """Fewer and shorter documents, after more and longer ones, get what they get with a new cache."""
    shape = SHAPES[2]
    ready = made(shape).inference(precision)
    tokens = torch.randint(0, shape.vocabulary, (70, 40), generator=torch.Generator().manual_seed(0))
    used, new = ready.cache(), ready.cache()
    ready.prefill(tokens, used, 40, 44)
    for one, other in zip(
        ready.prefill(tokens[:3, :20], used, 4, 24), ready.prefill(tokens[:3, :20], new, 4, 24), strict=True
    ):
        assert torch.equal(one, other)
    rows = torch.tensor([0, 2])
    for one, other in zip(*(ready.step(tokens[rows, 20], cache, rows, 20) for cache in (used, new)), strict=True):
        assert torch.equal(one, other)


def test_bf16_products_give_nearly_what_the_model_gives():
    """No further from float32 than the model itself under autocast."""
    model = made(SHAPES[2])
    tokens = torch.randint(0, 34, (20, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = model.logits(model(tokens)[-1])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.logits(model(tokens)[-1])
    ready = model.inference(torch.bfloat16)
    ours = ready.logits(ready.prefill(tokens, ready.cache(), 40, 40)[-1])
    errors = [float((logits - exact).abs().mean()) for logits in (ours, rounded)]
    assert 0 < errors[0] < 1.2 * errors[1]


def test_documents_are_read_a_few_at_a_time(monkeypatch):
    """However few: the same states."""
    shape = SHAPES[2]
    ready = made(shape).inference(torch.float32)
    tokens = torch.randint(0, shape.vocabulary, (11, 30), generator=torch.Generator().manual_seed(0))
    whole = ready.prefill(tokens, ready.cache(), 6, 30)
    sizes = []
    attend = inference.KeyValueCache.attend

    def noted(cache, rows, start, layer, qvk, last):
        sizes.append(len(qvk))
        return attend(cache, rows, start, layer, qvk, last)

    monkeypatch.setattr(inference.KeyValueCache, "attend", noted)
    monkeypatch.setattr(inference, "_AT_ONCE", 100)
    parts = ready.prefill(tokens, ready.cache(), 6, 30)
    assert sizes == [3, 3, 3, 2]
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

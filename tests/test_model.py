"""The language model against `transformers`' CodeGen, and its files against `AutoModelForCausalLM`."""

import pytest
import torch

from progsem.errors import UserError
from progsem.lm import model as lm
from progsem.lm.codegen import model as codegen

# Of 8, 8, 12 and 16 dimensions a head; the last is a whole vector of the compiled attention.
SHAPES = [
    codegen.Shape(40, 2, 32, 4, 8),
    codegen.Shape(23, 3, 64, 8, 4),
    codegen.Shape(56, 1, 48, 4, 12),
    codegen.Shape(30, 2, 128, 8, 12),
]


def made(shape: codegen.Shape, seed: int = 1) -> codegen.CodeGen:
    model = codegen.CodeGen(shape)
    model.initialise(seed, 0.2)  # wide enough that every term matters
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return model


@pytest.mark.parametrize("shape", SHAPES)
def test_same_function_as_transformers(shape, tmp_path):
    from transformers import AutoModelForCausalLM

    model = made(shape)
    model.save(tmp_path / "model.safetensors", tmp_path / "config.json")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == "CodeGenForCausalLM"
    tokens = torch.randint(0, shape.vocabulary, (3, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(tokens, output_hidden_states=True)
        states = model(tokens)
    torch.testing.assert_close(model.logits(states[-1]), expected.logits, rtol=1e-4, atol=1e-5)
    assert len(states) == len(expected.hidden_states) == shape.layers + 1
    for ours, reference in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_states_of_the_last_positions(shape):
    model = made(shape)
    tokens = torch.randint(0, shape.vocabulary, (3, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for some, whole in zip(model(tokens, last=5), model(tokens), strict=True):
            torch.testing.assert_close(some, whole[:, -5:])


@pytest.mark.parametrize("shape", SHAPES)
def test_same_gradients_as_transformers(shape, tmp_path):
    from transformers import AutoModelForCausalLM

    model = made(shape)
    model.save(tmp_path / "model.safetensors", tmp_path / "config.json")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.randint(0, shape.vocabulary, (3, 17), generator=torch.Generator().manual_seed(0))
    outer = torch.randn(3, 17, shape.vocabulary, generator=torch.Generator().manual_seed(1))
    model.logits(model(tokens)[-1]).backward(outer)
    theirs(tokens).logits.backward(outer)
    expected = dict(theirs.named_parameters())
    for name, parameter in model.named_parameters():
        reference = expected[name].grad
        assert (parameter.grad - reference).abs().max() <= 1e-5 * reference.abs().max(), name


def test_bf16_products_give_nearly_the_same():
    model = made(SHAPES[0])
    tokens = torch.randint(0, 40, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = model.logits(model(tokens)[-1])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.logits(model(tokens)[-1])
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).abs().mean() < 0.03 * exact.abs().mean()


def test_bf16_gradients_are_nearly_the_same():
    model = made(codegen.Shape(40, 3, 64, 4, 16))
    tokens = torch.randint(0, 40, (8, 40), generator=torch.Generator().manual_seed(0))
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = torch.nn.functional.cross_entropy(model.logits(model(tokens[:, :-1])[-1]).mT, tokens[:, 1:])
        model.zero_grad()
        loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, exact in gradients[0].items():
        assert 0 < (gradients[1][name] - exact).norm() < 0.05 * exact.norm(), name


def test_initialisation_follows_the_seed():
    first, again, other = (made(SHAPES[0], seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_damaged_files_are_named(tmp_path):
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    made(SHAPES[0]).save(weights, config)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="model.safetensors"):
        lm.load(weights, config, torch.device("cpu"))
    config.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="config.json"):
        lm.load(weights, config, torch.device("cpu"))

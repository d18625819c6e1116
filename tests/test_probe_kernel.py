"""The compiled steps of probe fits against autograd and torch.optim, one probe at a time."""

import numpy as np
import pytest
import torch

from progsem import config, probe_fit
from progsem.features import Head
from progsem.probe_fit import TEST, TRAIN, VALIDATION, ProbeBatch, States, fit, standardised
from progsem.probe_kernel import BETA1, TILE, Compiled, is_fastest

BFLOAT16, CPU = torch.bfloat16, torch.device("cpu")
pytestmark = pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="no AVX-512 BF16")


def module(weights):
    """A perceptron with the weights of one probe, rounded as the products take them, as torch writes it."""
    layers = []
    for weight, bias in weights:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = weight.to(BFLOAT16).float(), bias.clone()
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def filled(sizes, inputs, labels, classes, seed=0):
    """Compiled probes of inputs (N, width) float32 with random weights."""
    generator = torch.Generator().manual_seed(seed)
    with_ones = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).to(BFLOAT16)
    compiled = Compiled(sizes, with_ones, labels.to(torch.int32), [classes] * len(labels))
    for layers in compiled.weights:
        for weight, bias in layers:
            bound = weight.shape[2] ** -0.5
            for part in (weight, bias):
                part.copy_((torch.rand(part.shape, generator=generator) * 2 - 1) * bound)
    return compiled


def advance(compiled, rows, rates, decay=0.1):
    """Steps on minibatches rows (steps, batch), the same for every probe."""
    compiled.step(rows.repeat(len(compiled._classes), 1, 1), rates, decay, 1e-8 * rows.shape[1])


# Widths and classes that fill no register, batches that fill no tile, more than eight classes.
@pytest.mark.parametrize(
    ("width", "hidden", "classes", "batch"),
    [(128, (64, 256), 7, 512), (16, (24, 16), 4, 64), (5, (40, 100), 2, TILE + 3), (33, (64, 48), 11, 300)],
)
def test_gradients_are_those_of_autograd(width, hidden, classes, batch):
    torch.manual_seed(1)
    sizes = [(width, classes), (width, hidden[0], classes), (width, *hidden, classes)]
    inputs = torch.randn(batch + 50, width).to(BFLOAT16).float()
    labels = (inputs @ torch.randn(2, width, classes)).argmax(2)
    rows = torch.randperm(len(inputs))[:batch]
    compiled = filled(sizes, inputs, labels, classes)
    before = [[(w.clone(), b.clone()) for w, b in layers] for layers in compiled.weights]
    logits = compiled.logits(torch.arange(len(inputs)).repeat(2, 1), torch.tensor([len(inputs), 7]))
    assert (logits[1, ..., 7:] == 0).all()
    advance(compiled, rows[None], [1e-3])
    moments = filled(
        sizes, inputs, labels, classes
    )  # laid out alike; after one step the first moment is a share of the gradient
    moments._state[:, 0] = compiled._state[:, 2] / (1 - BETA1)
    for probe in range(2):
        for depth in range(3):
            model = module([(w[probe], b[probe]) for w, b in before[depth]])
            seen = [len(inputs), 7][probe]
            assert torch.allclose(model(inputs[:seen]), logits[probe, depth, :, :seen].T, atol=0.02)
            torch.nn.functional.cross_entropy(model(inputs[rows]), labels[probe, rows], reduction="sum").backward()
            for layer, (weight, bias) in zip(model[::2], moments.weights[depth], strict=True):
                for ours, theirs in ((weight[probe], layer.weight.grad), (bias[probe], layer.bias.grad)):
                    assert (ours - theirs).norm() <= 0.04 * theirs.norm()


def test_steps_are_those_of_adamw():
    """Three steps in two calls, fed with the gradients that were found."""
    torch.manual_seed(2)
    inputs, labels, rows = torch.randn(400, 20), torch.randint(0, 5, (1, 400)), torch.randint(0, 400, (3, 200))
    compiled, rates = filled([(20, 30, 5)], inputs, labels, 5), [1e-2, 5e-3, 2e-2]
    values = compiled._state[0, 0].copy()
    parameter = torch.nn.Parameter(torch.from_numpy(values))
    optimizer = torch.optim.AdamW([parameter], lr=1, betas=(0.9, 0.999), eps=2e-6, weight_decay=0.3)
    moment = np.zeros_like(values)
    for step, rate in enumerate(rates):
        advance(compiled, rows[[step]], [rate], decay=0.3)
        gradient = (compiled._state[0, 2] - BETA1 * moment) / (1 - BETA1)
        moment = compiled._state[0, 2].copy()
        parameter.grad = torch.from_numpy(gradient)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        assert np.allclose(compiled._state[0, 0], parameter.detach(), atol=2e-5)
    once = filled([(20, 30, 5)], inputs, labels, 5)
    advance(once, rows, rates, decay=0.3)
    assert np.array_equal(once._state, compiled._state)


def test_classes_that_a_head_has_not_take_no_part():
    """Two of seven classes: as if the others were not there, and their bias of minus infinity stays."""
    torch.manual_seed(3)
    inputs, rows = torch.randn(300, 16), torch.randint(0, 300, (4, 128))
    labels = torch.randint(0, 2, (1, 300))
    few, many = (filled([(16, 24, outputs)], inputs, labels, 2) for outputs in (2, 7))
    for (weight, bias), (w, b) in zip(many.weights[0], few.weights[0], strict=True):
        bias[:], weight[:] = -torch.inf, 0
        weight[:, : w.shape[1]], bias[:, : b.shape[1]] = w, b
    for each in (few, many):
        advance(each, rows, [1e-2] * 4)
    for (weight, bias), (w, b) in zip(many.weights[0], few.weights[0], strict=True):
        assert torch.equal(weight[:, : w.shape[1]], w) and torch.equal(bias[:, : b.shape[1]], b)
        assert (weight[:, w.shape[1] :] == 0).all() and (bias[:, b.shape[1] :] == -torch.inf).all()


def data_set(name, n=1500, seed=0):
    """Three heads whose labels stand in the states under noise."""
    random = np.random.default_rng(seed)
    labels = np.stack([random.integers(0, count, n) for count in (4, 3, 2)], 1)
    inputs = 2 * random.normal(size=(n, 16))
    for column, count in enumerate((4, 3, 2)):
        inputs += random.normal(size=(count, 16))[labels[:, column]]
    split = np.repeat([TRAIN, VALIDATION, TEST], [n - 2 * (n // 5), n // 5, n // 5])
    heads = [Head("facing", "heading", 4), Head("position", "x", 3), Head("wall_ahead", "wall", 2)]
    return States(name, inputs.astype(np.float32), np.arange(n), labels.astype(np.uint8), split), heads


RECIPE = config.Probes(
    steps=100, batch=150, evaluations=3, seeds=2, depths={"linear": (), "mlp1": (32,), "mlp2": (16, 40)}
)


def test_fits_are_as_good_as_those_by_tensors(monkeypatch):
    """The same minibatches and initial weights: answers differ by rounding only."""
    data, heads = data_set("one", 4000)
    monkeypatch.setattr(probe_fit, "is_fastest", lambda device, dtype: True)
    (compiled,) = fit([data], heads, RECIPE, dtype=BFLOAT16)
    monkeypatch.setattr(probe_fit, "is_fastest", lambda device, dtype: False)
    by_tensors, exact = (fit([data], heads, RECIPE, dtype=dtype)[0] for dtype in (BFLOAT16, torch.float32))
    agreement = (compiled.test == exact.test).mean()
    assert agreement > 0.97 and agreement > (by_tensors.test == exact.test).mean() - 0.005
    truth = data.labels[data.of(TEST)][:, None, None]
    right = [(each.test == truth).mean((0, 2, 3)) for each in (compiled, exact)]
    assert np.allclose(*right, atol=0.01) and right[0].min() > 0.4


def test_alone_as_together_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(probe_fit, "is_fastest", lambda device, dtype: True)
    (one, heads), (two, _) = data_set("one"), data_set("two", 1200, seed=1)

    def weights(groups, inputs, threads):
        torch.set_num_threads(threads)
        batch = ProbeBatch(groups, inputs, heads, RECIPE, CPU)
        batch.fit()
        return [[w.clone() for layer in layers for w in layer if w is not None] for layers in batch.weights]

    before = torch.get_num_threads()
    try:
        inputs = [standardised(data, BFLOAT16) for data in (one, two)]
        together = weights([(one, 0), (one, 1), (two, 0)], inputs, 3)
        alone = weights([(two, 0)], inputs[1:], 1)
    finally:
        torch.set_num_threads(before)
    for some, only in zip(together, alone, strict=True):
        for all_of_them, its in zip(some, only, strict=True):
            assert torch.equal(all_of_them.view(3, -1)[2], its.view(-1))


def test_only_where_it_is_the_fastest(monkeypatch):
    assert not is_fastest(CPU, torch.float32) and not is_fastest(torch.device("cuda"), BFLOAT16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert not is_fastest(CPU, BFLOAT16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert is_fastest(CPU, BFLOAT16)

"""Hundreds of small probes, fitted together as one tensor program.

A probe is a linear map, or a perceptron with one or two ReLU layers, that reads
one head's label from a hidden state. Probes of one data set and seed see the same
minibatches, so their first layers are one wide matrix product and their later
ones are batched; several data sets and seeds are one more batch dimension. No
product mixes two probes, so each comes out as if it were fitted alone.

Layout: activations are (groups, heads, units, batch), columns being states, so
that every matrix product reads and writes contiguous memory; a *group* is one
(data set, seed). Weights and optimizer state are float32; matrix products are
bfloat16 where the hardware multiplies it.

Gradients are written out rather than recorded: with autograd's temporaries and
casts the same step takes about twice as long on a CPU.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from progsem.hardware import choose_precision
from progsem.languages.labels import Head
from progsem.study.config import Probes
from progsem.study.vocabulary import TEST, TRAIN, VALIDATION

WARMUP = 0.05  # of the steps
CACHED = 450_000  # weights that a core's cache (2 MB) holds well enough; measured
BLOCK = 64  # steps whose minibatches are drawn at once
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # AdamW's


@dataclass(frozen=True)
class States:
    """N labelled hidden states that probes are fitted to.

    `name` takes part in seeding: probes of equal name, seed, depth and head start
    from the same weights and see the same minibatches. `activations` (M, width)
    float16, float32 or uint8 may be shared by several of these, `rows` (N,) are the
    ones meant. `labels` (N, heads) uint8; `split` (N,) is TRAIN, VALIDATION or TEST.
    """

    name: str
    activations: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    split: np.ndarray

    def of(self, split: int) -> np.ndarray:
        """Which of the N states belong to a split, in order."""
        return np.flatnonzero(self.split == split)


@dataclass(frozen=True)
class Fitted:
    """What the probes of one data set say, each at its best snapshot.

    `validation` and `test` (rows of that split, depths, seeds, heads) uint8 are
    predicted classes. Of the test states, in the shape of `test` and float32,
    `confidence` is the probability that the probe gives to its answer, and `bits`
    what the true label costs: -log2 of its probability. `chosen_step` (depths, seeds,
    heads) is the step of the snapshot, the first of equally good ones.
    """

    validation: np.ndarray
    test: np.ndarray
    confidence: np.ndarray
    bits: np.ndarray
    chosen_step: np.ndarray

    @classmethod
    def unfilled(cls, validation: int, test: int, probes: tuple[int, int, int]) -> Fitted:
        """For so many states of these splits, and (depths, seeds, heads) probes."""
        return cls(
            validation=np.empty((validation, *probes), np.uint8),
            test=np.empty((test, *probes), np.uint8),
            confidence=np.empty((test, *probes), np.float32),
            bits=np.empty((test, *probes), np.float32),
            chosen_step=np.empty(probes, np.int64),
        )


def fit(
    datasets: list[States],
    heads: list[Head],
    recipe: Probes,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    at_once: int | None = None,
    progress: Callable[[int], None] | None = None,
    by_likelihood: bool = False,
) -> list[Fitted]:
    """Fit every depth, seed and head of the recipe to every data set.

    Each probe is reported at the snapshot with the highest validation accuracy. With
    `by_likelihood` it is the one under which the validation labels are most likely,
    the untrained one included: where there is nothing to learn, that costs fewest bits.

    `dtype` is that of the matrix products (by default the fastest that the device
    has hardware for); `at_once` is how many (data set, seed) groups are stacked:
    by default on a CPU as many as a core's cache holds, on a GPU as many as fit its
    memory. Neither changes results beyond rounding. `progress` is
    told how many more probes are fitted.
    """
    device = torch.device(device)
    dtype = dtype or choose_precision("auto", device)
    jobs = [(index, seed) for index in range(len(datasets)) for seed in range(recipe.seeds)]
    at_once = at_once or _groups_at_once(datasets, heads, recipe, device)
    probes = (len(recipe.depths), recipe.seeds, len(heads))
    results = [Fitted.unfilled(len(data.of(VALIDATION)), len(data.of(TEST)), probes) for data in datasets]
    inputs: dict[int, torch.Tensor] = {}
    for start in range(0, len(jobs), at_once):
        chunk = jobs[start : start + at_once]
        inputs = {
            index: inputs[index] if index in inputs else standardised(datasets[index], dtype)
            for index in dict.fromkeys(index for index, _ in chunk)
        }
        groups = [(datasets[index], seed) for index, seed in chunk]
        batch = ProbeBatch(groups, list(inputs.values()), heads, recipe, device)
        steps, weights = batch.fit(by_likelihood)
        validation, test = (batch.answers(split, weights) for split in (VALIDATION, TEST))
        for group, (index, seed) in enumerate(chunk):
            result = results[index]
            result.chosen_step[:, seed] = steps[:, group]
            result.validation[:, :, seed] = validation[group].classes
            result.test[:, :, seed] = test[group].classes
            result.confidence[:, :, seed] = test[group].confidence
            result.bits[:, :, seed] = test[group].bits
        if progress:
            progress(len(chunk) * len(recipe.depths) * len(heads))
    return results


def _groups_at_once(datasets: list[States], heads: list[Head], recipe: Probes, device: torch.device) -> int:
    if not datasets:
        return 1
    classes = max(head.classes for head in heads)
    sizes = [(datasets[0].activations.shape[1], *widths, classes) for widths in recipe.depths.values()]
    weights = len(heads) * sum(before * after for each in sizes for before, after in pairwise(each))
    if device.type == "cpu":
        return max(1, CACHED // weights)
    activations = len(heads) * recipe.batch * sum(map(sum, sizes))
    inputs = 2 * sum(len(data.rows) for data in datasets) * datasets[0].activations.shape[1]
    free, _ = torch.cuda.mem_get_info(device)
    # 20 bytes a weight (value, gradient, two moments, copies), 4 an activation and its gradient.
    return max(1, int((0.7 * free - inputs) // (20 * weights + 4 * activations)))


def _generator(*key) -> torch.Generator:
    """A stream of random numbers that depends on the key alone."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def _minibatches(rows: torch.Tensor, generator: torch.Generator, batch: int, ends: list[int]) -> Iterator[torch.Tensor]:
    """Row numbers (steps, batch) up to each of the steps `ends`: one random permutation of the rows after another."""
    left = rows[:0]
    for start, end in pairwise([0, *ends]):
        wanted = (end - start) * batch
        parts, there = [left], len(left)
        while there < wanted:
            parts.append(rows[torch.randperm(len(rows), generator=generator)])
            there += len(rows)
        stream = torch.cat(parts)
        left = stream[wanted:]
        yield stream[:wanted].view(-1, batch)


def standardised(data: States, dtype: torch.dtype) -> torch.Tensor:
    """(N, width + 1): mean 0 and standard deviation 1 over the training states, and a column of ones for the bias."""
    chosen = torch.from_numpy(data.activations[data.rows])
    # A piece at a time, so that the temporaries stay in the cache.
    pieces = torch.from_numpy(data.of(TRAIN)).split(2048)
    mean = sum(chosen[piece].double().sum(0) for piece in pieces) / sum(map(len, pieces))
    deviation = (
        sum(chosen[piece].double().sub_(mean).square_().sum(0) for piece in pieces) / sum(map(len, pieces))
    ).sqrt()
    deviation[deviation < 1e-6] = 1  # a unit that never changes
    mean, factor = mean.float(), deviation.reciprocal().float()
    out = torch.empty(len(chosen), chosen.shape[1] + 1, dtype=dtype)
    for source, into in zip(chosen.split(2048), out.split(2048), strict=True):
        into[:, :-1] = source.float().sub_(mean).mul_(factor)
        into[:, -1] = 1
    return out


def _as_integers(activations: torch.Tensor) -> torch.Tensor:
    """The bits of floats as signed integers of the same size.

    Negative floats are negative integers, so ReLU is `max(bits, 0)`, and what is
    positive can be told from the bits: bfloat16 arithmetic is emulated on CPUs,
    integer arithmetic is not, and this is five times as fast.
    """
    return activations.view(torch.int16 if activations.element_size() == 2 else torch.int32)


class Answers(NamedTuple):
    """What a group's probes say of some states, each (states, K, H); `Fitted` has more of the meanings."""

    classes: np.ndarray
    confidence: np.ndarray
    bits: np.ndarray


class ProbeBatch:
    """The probes of some groups, each a (data set, seed): G groups, K depths, H heads.

    `weights[k]` lists the layers of depth k as (W, b): W (G * H, out, in) with b
    (G * H, out, 1), but the first layer, whose heads share their input, is one W
    (G, H * out, in + 1) with the bias in its last column and no b. Every head
    has as many outputs as the largest; those beyond a head's classes have a bias of
    minus infinity, hence probability and gradient exactly 0. `inputs` are the
    `standardised` states of each data set, in the order in which the groups first name it.
    """

    def __init__(
        self,
        groups: list[tuple[States, int]],
        inputs: list[torch.Tensor],
        heads: list[Head],
        recipe: Probes,
        device: torch.device | str,
    ):
        self.recipe, self.heads, self.groups = recipe, heads, groups
        self.device, self.dtype = torch.device(device), inputs[0].dtype
        self.classes = max(head.classes for head in heads)
        self.count = (len(groups), len(heads))
        self._load(inputs)
        self._initialise()
        self._allocate()
        self.weights = self._views(self.low)

    def _load(self, inputs: list[torch.Tensor]) -> None:
        """All data sets one after another: inputs (rows, width + 1), labels (rows, heads)."""
        datasets = list({id(data): data for data, _ in self.groups}.values())
        starts = np.cumsum([0] + [len(data.rows) for data in datasets])
        first = {id(data): int(start) for data, start in zip(datasets, starts[:-1], strict=True)}
        self.inputs = (inputs[0] if len(inputs) == 1 else torch.cat(inputs)).to(self.device)
        labels = np.concatenate([data.labels for data in datasets]).astype(np.int64)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.rows = {
            split: [torch.from_numpy(data.of(split)) + first[id(data)] for data, _ in self.groups]
            for split in (TRAIN, VALIDATION, TEST)
        }

    def _initialise(self) -> None:
        """Uniform weights within 1 / sqrt(inputs), each probe from a stream of its own."""
        groups, heads = self.count
        width = self.inputs.shape[1] - 1
        self.sizes = [(width, *widths, self.classes) for widths in self.recipe.depths.values()]
        shapes = []
        for sizes in self.sizes:
            for layer, (before, after) in enumerate(pairwise(sizes)):
                if layer == 0:
                    shapes.append((groups, heads * after, before + 1))
                else:
                    shapes += [(groups * heads, after, before), (groups * heads, after, 1)]
        self.shapes = shapes
        self.parameters = torch.empty(sum(math.prod(shape) for shape in shapes))
        for depth, layers in zip(self.recipe.depths, self._views(self.parameters), strict=True):
            for group, (data, seed) in enumerate(self.groups):
                for index, head in enumerate(self.heads):
                    stream = _generator("weights", data.name, seed, depth, head.feature, head.name)
                    for layer, (weight, bias) in enumerate(layers):
                        if layer == 0:
                            joint = weight.view(groups, heads, -1, weight.shape[2])[group, index]
                            w, b = joint[:, :-1], joint[:, -1:]
                        else:
                            w, b = (part.view(groups, heads, *part.shape[1:])[group, index] for part in (weight, bias))
                        # A head's own outputs only: padding must not change what it draws.
                        real = head.classes if layer == len(layers) - 1 else len(w)
                        bound = w.shape[1] ** -0.5
                        w[:real] = torch.rand(real, w.shape[1], generator=stream) * (2 * bound) - bound
                        b[:real] = torch.rand(real, 1, generator=stream) * (2 * bound) - bound
                        w[real:], b[real:] = 0, -torch.inf
        self.parameters = self.parameters.to(self.device)

    def _views(self, flat: torch.Tensor) -> list[list[tuple[torch.Tensor, torch.Tensor | None]]]:
        """A flat vector of all weights as the (W, b) of each layer of each depth."""
        tensors, start = [], 0
        for shape in self.shapes:
            tensors.append(flat[start : start + math.prod(shape)].view(shape))
            start += math.prod(shape)
        parts = iter(tensors)
        return [
            [(next(parts), next(parts) if layer else None) for layer in range(len(sizes) - 1)] for sizes in self.sizes
        ]

    def _allocate(self) -> None:
        """Everything that a step writes, once: fresh memory costs page faults every step."""
        (groups, heads), batch = self.count, self.recipe.batch

        def empty(*shape: int) -> torch.Tensor:
            return torch.empty(shape, dtype=self.dtype, device=self.device)

        self.states = empty(groups * batch, self.inputs.shape[1])
        self.hidden = [[empty(groups * heads, size, batch) for size in sizes[1:-1]] for sizes in self.sizes]
        self.hidden_gradients = [[torch.empty_like(layer) for layer in layers] for layers in self.hidden]
        self.logits = empty(len(self.sizes), groups, heads, self.classes, batch)
        self.minus_one = torch.full((1, 1, 1, 1, 1), -1.0, dtype=self.dtype, device=self.device).expand(
            len(self.sizes), groups, heads, 1, batch
        )
        self.low = self.parameters if self.dtype == torch.float32 else self.parameters.to(self.dtype)
        self.gradient = torch.zeros_like(self.parameters)
        self.low_gradient = self.gradient if self.dtype == torch.float32 else torch.zeros_like(self.low)
        self.first_moment, self.second_moment = torch.zeros_like(self.gradient), torch.zeros_like(self.gradient)
        self.updates = torch.zeros((), device=self.device)
        self.weight_gradients = self._views(self.low_gradient)

    def forward(self, index: torch.Tensor, weights: list) -> torch.Tensor:
        """Logits (K, G, H, classes, batch) of the states `index` (G, batch); the buffer is reused by the next call."""
        (groups, heads), batch = self.count, index.shape[1]
        torch.index_select(self.inputs, 0, index.view(-1), out=self.states)
        shared = self.states.view(groups, batch, -1).mT  # (G, width + 1, batch)
        for depth, layers in enumerate(weights):
            logits = self.logits[depth].view(groups * heads, self.classes, batch)
            outputs = [*self.hidden[depth], logits]
            for layer, ((weight, bias), output) in enumerate(zip(layers, outputs, strict=True)):
                if layer == 0:
                    torch.bmm(weight, shared, out=output.view(groups, -1, batch))
                else:
                    torch.baddbmm(bias.expand_as(output), weight, outputs[layer - 1], out=output)
                if output is not logits:
                    _as_integers(output).clamp_min_(0)
        return self.logits

    def backward(self, index: torch.Tensor) -> None:
        """Gradients of the summed cross-entropy after `forward(index)`, into `low_gradient`."""
        (groups, heads), batch = self.count, index.shape[1]
        shared = self.states.view(groups, batch, -1)
        # d loss / d logits = softmax - one-hot
        gradient = torch.softmax(self.logits, 3)
        gradient.scatter_add_(3, self._labels(index).expand(self.minus_one.shape), self.minus_one)
        for depth, layers in enumerate(self.weights):
            outer = gradient[depth].view(groups * heads, self.classes, batch)
            for layer in reversed(range(len(layers))):
                into, bias_into = self.weight_gradients[depth][layer]
                if layer == 0:
                    torch.bmm(outer.view(groups, -1, batch), shared, out=into)
                    break
                below = self.hidden[depth][layer - 1]
                torch.bmm(outer, below.mT, out=into)
                torch.sum(outer, 2, keepdim=True, out=bias_into)
                inner = self.hidden_gradients[depth][layer - 1]
                torch.bmm(layers[layer][0].mT, outer, out=inner)
                bits = _as_integers(inner)
                torch.ops.aten.threshold_backward.grad_input(bits, _as_integers(below), 0, grad_input=bits)
                outer = inner

    def _labels(self, index: torch.Tensor) -> torch.Tensor:
        """(G, H, 1, batch) labels of the states `index` (G, batch)."""
        chosen = torch.index_select(self.labels, 0, index.view(-1))
        return chosen.view(*index.shape, -1).transpose(1, 2).unsqueeze(2)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a half cosine down to 0: the last snapshot has settled, whatever `steps` is."""
        steps = self.recipe.steps
        warmup = max(1, round(WARMUP * steps))
        if step < warmup:
            return self.recipe.learning_rate * (step + 1) / warmup
        return self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    def update(self, learning_rate: float) -> None:
        """One step of AdamW on all weights.

        Calls the fused kernel itself: `torch.optim.AdamW` spends longer in Python than the
        kernel takes, and importing what it needs takes longer than an alternative's whole fit.
        """
        if self.low is not self.parameters:
            self.gradient.copy_(self.low_gradient)
        self.updates += 1
        torch._fused_adamw_(
            [self.parameters],
            [self.gradient],
            [self.first_moment],
            [self.second_moment],
            [],
            [self.updates],
            lr=learning_rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=self.recipe.weight_decay,
            # `backward` gives the gradient of the sum, `batch` times that of the mean; with epsilon
            # scaled likewise the update is that of the mean.
            eps=_EPSILON * self.recipe.batch,
            amsgrad=False,
            maximize=False,
        )
        if self.low is not self.parameters:
            self.low.copy_(self.parameters)

    def fit(self, by_likelihood: bool = False) -> tuple[np.ndarray, list]:
        """Train; returns each probe's best step (K, G, H) and its weights then, laid out as `weights`.

        `by_likelihood` is that of the function `fit`.
        """
        recipe = self.recipe
        milestones = {round(recipe.steps * k / recipe.evaluations) for k in range(1, recipe.evaluations + 1)} - {0}
        score = self.log_likelihood if by_likelihood else self.hits
        best = torch.full((len(self.sizes), *self.count), -1.0, dtype=torch.float64, device=self.device)
        if by_likelihood:
            best = score(VALIDATION)
        chosen = torch.zeros_like(best, dtype=torch.int64)
        best_weights = self._views(self.low.clone())
        ends = sorted({*range(BLOCK, recipe.steps, BLOCK), *milestones})
        streams = [
            _minibatches(rows, _generator("minibatches", data.name, seed), recipe.batch, ends)
            for rows, (data, seed) in zip(self.rows[TRAIN], self.groups, strict=True)
        ]
        for start, step, *blocks in zip([0, *ends[:-1]], ends, *streams, strict=True):
            self._advance(torch.stack(blocks), [self.learning_rate(k) for k in range(start, step)])
            if step in milestones:
                scores = score(VALIDATION)
                better = scores > best
                best = torch.where(better, scores, best)
                chosen = torch.where(better, step, chosen)
                self._keep(best_weights, better)
        return chosen.cpu().numpy(), best_weights

    def _advance(self, rows: torch.Tensor, rates: list[float]) -> None:
        """Steps on minibatches rows (G, steps, batch) at learning rates (steps,)."""
        for index, rate in zip(rows.transpose(0, 1).contiguous().to(self.device), rates, strict=True):
            self.forward(index, self.weights)
            self.backward(index)
            self.update(rate)

    def _keep(self, kept: list, better: torch.Tensor) -> None:
        """Copy the current weights of the probes where `better` (K, G, H) is true."""
        for depth, layers in enumerate(kept):
            for old, new in zip(layers, self.weights[depth], strict=True):
                for into, source in zip(old, new, strict=True):
                    if into is not None:
                        into, source = (part.view(*self.count, -1) for part in (into, source))
                        into.copy_(torch.where(better[depth].unsqueeze(2), source, into))

    def _chunks(self, split: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All rows of a split, a batch at a time: index (G, batch), and which of them are real."""
        batch, rows = self.recipe.batch, self.rows[split]
        chunks = max(1, *(-(-len(part) // batch) for part in rows))
        padded = torch.zeros(len(rows), chunks * batch, dtype=torch.int64)
        real = torch.zeros_like(padded, dtype=torch.bool)
        for group, part in enumerate(rows):
            padded[group, : len(part)] = part
            real[group, : len(part)] = True
        padded, real = padded.to(self.device), real.to(self.device)
        for start in range(0, padded.shape[1], batch):
            yield padded[:, start : start + batch].contiguous(), real[:, start : start + batch]

    def hits(self, split: int) -> torch.Tensor:
        """How many states of a split each probe gets right at the moment: (K, G, H) float64."""
        # max, as argmax is five times slower here.
        return self._total(split, lambda logits, labels: logits.max(3).indices == labels.squeeze(2))

    def log_likelihood(self, split: int) -> torch.Tensor:
        """Log-likelihood of a split's labels under each probe at the moment, in nats: (K, G, H) float64."""
        return self._total(split, lambda logits, labels: _at(logits, labels) - torch.logsumexp(logits.float(), 3))

    def _total(self, split: int, score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Sum over a split's states of the scores (K, G, H, batch) of logits and labels: (K, G, H)."""
        total = torch.zeros(len(self.sizes), *self.count, dtype=torch.float64, device=self.device)
        for index, real in self._chunks(split):
            scores = score(self.forward(index, self.weights), self._labels(index))
            total += (scores * real.unsqueeze(1)).sum(3)
        return total

    def answers(self, split: int, weights: list) -> list[Answers]:
        """What each group's probes, with weights from `fit`, say of its states in a split."""
        parts = []
        for index, _ in self._chunks(split):
            logits = self.forward(index, weights)
            best, total = logits.max(3), torch.logsumexp(logits.float(), 3)
            bits = (total - _at(logits, self._labels(index))) / math.log(2)
            parts.append((best.indices.to(torch.uint8), (best.values - total).exp(), bits))
        stacked = [torch.cat(some, 3).permute(1, 3, 0, 2).cpu().numpy() for some in zip(*parts, strict=True)]
        return [
            Answers(*(array[group, : len(rows)] for array in stacked)) for group, rows in enumerate(self.rows[split])
        ]


def _at(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of logits (K, G, H, classes, batch) those of the labels (G, H, 1, batch): (K, G, H, batch)."""
    return logits.gather(3, labels.expand(len(logits), *labels.shape)).squeeze(3)

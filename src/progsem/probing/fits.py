"""Hundreds of small probes, fitted together as one tensor program.

A probe is a linear map, or a perceptron with one or two ReLU layers, that reads
one head's label from a hidden state. Probes of one data set and seed see the same
minibatches, so their first layers are one wide matrix product and their later
ones are batched; several data sets and seeds are one more batch dimension. No
product mixes two probes, so each comes out as if it were fitted alone.

Layout: activations are (groups, heads, units, batch), columns being states, so
that every matrix product reads and writes contiguous memory; a *group* is one
(data set, seed). Weights and optimizer state are float32; matrix products are
bfloat16 where the hardware has matrix units for it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from progsem.hardware import choose_precision
from progsem.languages.labels import Head
from progsem.study.config import Probes
from progsem.study.vocabulary import TEST, TRAIN, VALIDATION

WARMUP = 0.05  # of the steps
RANK = 1e-6  # of the largest variance along any direction: what is below is rounding
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
    heads) is the step of the snapshot, the first of equally good ones. `weights` has for
    each depth the layers of the first seed's probes, as `ProbeBatch.of_group` gives them.
    """

    validation: np.ndarray
    test: np.ndarray
    confidence: np.ndarray
    bits: np.ndarray
    chosen_step: np.ndarray
    weights: list[list[tuple[torch.Tensor, torch.Tensor]]] = field(default_factory=list)

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
    inputs: dict[int, Inputs] = {}
    for start in range(0, len(jobs), at_once):
        chunk = jobs[start : start + at_once]
        inputs = {
            index: inputs[index] if index in inputs else whitened(datasets[index], device, dtype)
            for index in dict.fromkeys(index for index, _ in chunk)
        }
        groups = [(datasets[index], seed) for index, seed in chunk]
        batch = ProbeBatch(groups, [one.states for one in inputs.values()], heads, recipe, device)
        steps, weights = batch.fit(by_likelihood)
        validation, test = (batch.answers(split, weights) for split in (VALIDATION, TEST))
        for group, (index, seed) in enumerate(chunk):
            result = results[index]
            result.chosen_step[:, seed] = steps[:, group]
            result.validation[:, :, seed] = validation[group].classes
            result.test[:, :, seed] = test[group].classes
            result.confidence[:, :, seed] = test[group].confidence
            result.bits[:, :, seed] = test[group].bits
            if seed == 0:
                result.weights.extend(batch.of_group(group, weights, inputs[index].whitening))
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


class Whitening(NamedTuple):
    """An affine map of hidden states, (x - mean) @ matrix, after which no unit tells anything of another.

    mean (width,), matrix (width, width), float32. Over the states that it was made from, units have mean 0,
    standard deviation 1 and no correlation; what never changes there is left out.
    """

    mean: torch.Tensor
    matrix: torch.Tensor

    def of(self, states: torch.Tensor) -> torch.Tensor:
        """States (N, width) in float32, mapped."""
        return (states - self.mean) @ self.matrix


class Inputs(NamedTuple):
    """What probes read, (N, width + 1): states mapped by a whitening, and a column of ones for the bias."""

    states: torch.Tensor
    whitening: Whitening


def whitening_of(states: torch.Tensor, train: torch.Tensor) -> Whitening:
    """The whitening of the states (N, width) that `train` (M,) numbers.

    Of all maps that whiten, the one that changes the standardised states least (Kessy, Lewin & Strimmer 2018, The
    American Statistician 72, ZCA-cor). A linear probe can read the same with it as without, and gets there in far fewer
    steps: units of a residual stream are correlated, and gradient descent is slow along what is rare in all of them.
    """
    # A piece at a time, so that the temporaries stay in the cache.
    pieces = train.split(2048)
    mean = sum(states[piece].double().sum(0) for piece in pieces) / len(train)
    products = 0
    for piece in pieces:
        centred = states[piece].double().sub_(mean)
        products = products + centred.T @ centred
    deviation = (products.diagonal() / len(train)).sqrt()
    factor = torch.where(deviation < 1e-6, 0, 1 / deviation)  # 0: a unit that never changes
    values, directions = torch.linalg.eigh(products * factor * factor[:, None] / len(train))
    kept = values > RANK * values.max()
    back = torch.where(kept, values.clamp_min(1e-12).rsqrt(), 0)
    matrix = factor[:, None] * (directions * back) @ directions.T
    return Whitening(mean.float(), matrix.float())


def whitened(data: States, device: torch.device | str, dtype: torch.dtype) -> Inputs:
    """What probes of a data set read, on a device."""
    chosen = torch.from_numpy(data.activations[data.rows]).to(device)
    whitening = whitening_of(chosen, torch.from_numpy(data.of(TRAIN)).to(device))
    out = torch.empty(len(chosen), chosen.shape[1] + 1, dtype=dtype, device=device)
    for source, into in zip(chosen.split(2048), out.split(2048), strict=True):
        into[:, :-1] = whitening.of(source.float())
        into[:, -1] = 1
    return Inputs(out, whitening)


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
    `whitened` states of each data set, in the order in which the groups first name it.
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
        self.sizes = [(self.inputs.shape[1] - 1, *widths, self.classes) for widths in recipe.depths.values()]
        self.weights = self._initialise()
        self.parameters = [part for layers in self.weights for layer in layers for part in layer if part is not None]
        self.moments = [[torch.zeros_like(part) for part in self.parameters] for _ in range(2)]
        self.updates = [torch.zeros((), device=self.device) for _ in self.parameters]

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

    def _initialise(self) -> list:
        """Uniform weights within 1 / sqrt(inputs), each probe from a stream of its own."""
        groups, heads = self.count
        streams = {
            (depth, group, index): _generator("weights", data.name, seed, depth, head.feature, head.name)
            for depth in self.recipe.depths
            for group, (data, seed) in enumerate(self.groups)
            for index, head in enumerate(self.heads)
        }
        weights = []
        for depth, sizes in zip(self.recipe.depths, self.sizes, strict=True):
            layers = []
            for layer, (before, after) in enumerate(pairwise(sizes), start=1):
                joint = torch.empty(groups, heads, after, before + 1)  # the bias in the last column
                for (group, index), probe in zip(np.ndindex(groups, heads), joint.flatten(0, 1), strict=True):
                    # A head's own outputs only: padding must not change what it draws.
                    real = self.heads[index].classes if layer == len(sizes) - 1 else after
                    stream, bound = streams[depth, group, index], before**-0.5
                    probe[:real, :-1] = torch.rand(real, before, generator=stream) * (2 * bound) - bound
                    probe[:real, -1:] = torch.rand(real, 1, generator=stream) * (2 * bound) - bound
                    probe[real:, :-1], probe[real:, -1] = 0, -torch.inf
                joint = joint.to(self.device)
                parts = (joint.flatten(1, 2), None) if layer == 1 else joint.flatten(0, 1).split((before, 1), 2)
                layers.append([part if part is None else part.contiguous().requires_grad_() for part in parts])
            weights.append(layers)
        return weights

    def forward(self, index: torch.Tensor, weights: list) -> torch.Tensor:
        """Logits (K, G, H, classes, batch) float32 of the states `index` (G, batch)."""
        (groups, heads), batch = self.count, index.shape[1]
        shared = torch.index_select(self.inputs, 0, index.view(-1)).view(groups, batch, -1).mT
        logits = []
        for (first, _), *others in weights:
            units = torch.bmm(first.to(self.dtype), shared).view(groups * heads, -1, batch)
            for weight, bias in others:
                units = torch.baddbmm(bias.to(self.dtype), weight.to(self.dtype), torch.relu(units))
            logits.append(units.view(groups, heads, -1, batch))
        return torch.stack(logits).float()

    def gradients(self, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Of each probe's mean cross-entropy on the states `index` (G, batch): one tensor for each of `parameters`."""
        logits = self.forward(index, self.weights)
        labels = self._labels(index).squeeze(2).expand(len(logits), -1, -1, -1)
        loss = F.cross_entropy(logits.flatten(0, 2), labels.flatten(0, 2), reduction="sum") / index.shape[1]
        return torch.autograd.grad(loss, self.parameters)

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

    @torch.no_grad()
    def update(self, gradients: tuple[torch.Tensor, ...], learning_rate: float) -> None:
        """One step of AdamW on all weights.

        Calls the fused kernel itself: importing what `torch.optim.AdamW` needs takes longer than an alternative's
        whole fit.
        """
        torch._foreach_add_(self.updates, 1)
        torch._fused_adamw_(
            self.parameters,
            gradients,
            *self.moments,
            [],
            self.updates,
            lr=learning_rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=self.recipe.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def fit(
        self, by_likelihood: bool = False, progress: Callable[[int], object] | None = None
    ) -> tuple[np.ndarray, list]:
        """Train; returns each probe's best step (K, G, H) and its weights then, laid out as `weights`.

        `by_likelihood` is that of the function `fit`; `progress` is told how many more steps are done.
        """
        recipe = self.recipe
        milestones = {round(recipe.steps * k / recipe.evaluations) for k in range(1, recipe.evaluations + 1)} - {0}
        score = self.log_likelihood if by_likelihood else self.hits
        best = torch.full((len(self.sizes), *self.count), -1.0, dtype=torch.float64, device=self.device)
        if by_likelihood:
            best = score(VALIDATION)
        chosen = torch.zeros_like(best, dtype=torch.int64)
        best_weights = [
            [[part if part is None else part.detach().clone() for part in layer] for layer in layers]
            for layers in self.weights
        ]
        ends = sorted({*range(BLOCK, recipe.steps, BLOCK), *milestones})
        streams = [
            _minibatches(rows, _generator("minibatches", data.name, seed), recipe.batch, ends)
            for rows, (data, seed) in zip(self.rows[TRAIN], self.groups, strict=True)
        ]
        for start, step, *blocks in zip([0, *ends[:-1]], ends, *streams, strict=True):
            self._advance(torch.stack(blocks), [self.learning_rate(k) for k in range(start, step)])
            if progress:
                progress(step - start)
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
            self.update(self.gradients(index), rate)

    @torch.no_grad()
    def _keep(self, kept: list, better: torch.Tensor) -> None:
        """Copy the current weights of the probes where `better` (K, G, H) is true."""
        for depth, layers in enumerate(kept):
            for old, new in zip(layers, self.weights[depth], strict=True):
                for into, source in zip(old, new, strict=True):
                    if into is not None:
                        into, source = (part.view(*self.count, -1) for part in (into, source))
                        into.copy_(torch.where(better[depth].unsqueeze(2), source, into))

    def of_group(
        self, group: int, weights: list, whitening: Whitening
    ) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
        """Of each depth the layers of one group's probes, from `weights` as `fit` returns them.

        A layer is a weight (H, out, in) and a bias (H, out), float32 on the CPU, of hidden states as they are: what
        whitens them is part of the first one.
        """
        heads = len(self.heads)
        found = []
        for (first, _), *others in weights:
            joint = first[group].view(heads, -1, first.shape[2])
            weight = joint[..., :-1] @ whitening.matrix.T
            layers = [(weight, joint[..., -1] - weight @ whitening.mean)]
            own = slice(group * heads, (group + 1) * heads)
            layers += [(weight[own], bias[own].squeeze(2)) for weight, bias in others]
            found.append([(weight.cpu().contiguous(), bias.cpu().contiguous()) for weight, bias in layers])
        return found

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
        return self._total(split, lambda logits, labels: _at(logits, labels) - torch.logsumexp(logits, 3))

    @torch.no_grad()
    def _total(self, split: int, score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Sum over a split's states of the scores (K, G, H, batch) of logits and labels: (K, G, H)."""
        total = torch.zeros(len(self.sizes), *self.count, dtype=torch.float64, device=self.device)
        for index, real in self._chunks(split):
            scores = score(self.forward(index, self.weights), self._labels(index))
            total += (scores * real.unsqueeze(1)).sum(3)
        return total

    @torch.no_grad()
    def answers(self, split: int, weights: list) -> list[Answers]:
        """What each group's probes, with weights from `fit`, say of its states in a split."""
        parts = []
        for index, _ in self._chunks(split):
            logits = self.forward(index, weights)
            best, total = logits.max(3), torch.logsumexp(logits, 3)
            bits = (total - _at(logits, self._labels(index))) / math.log(2)
            parts.append((best.indices.to(torch.uint8), (best.values - total).exp(), bits))
        stacked = [torch.cat(some, 3).permute(1, 3, 0, 2).cpu().numpy() for some in zip(*parts, strict=True)]
        return [
            Answers(*(array[group, : len(rows)] for array in stacked)) for group, rows in enumerate(self.rows[split])
        ]


def _at(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of logits (K, G, H, classes, batch) those of the labels (G, H, 1, batch): (K, G, H, batch)."""
    return logits.gather(3, labels.expand(len(logits), *labels.shape)).squeeze(3)

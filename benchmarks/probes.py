"""Fits of probes, against one after the other with `torch.nn.Sequential` and a `DataLoader`.

Both sides fit the recipe of the default study to the same states: as many, as wide and
with as many classes as there. The states are made: a random projection of a few normal
variables under noise. The labels are what a random perceptron makes of the variables,
so a linear probe reads some of them and perceptrons read more.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from statistics import NormalDist, median
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.common import Row, in_turn, study
from benchmarks.limits import matrix_rate
from progsem.hardware import choose_precision
from progsem.languages.karel import features
from progsem.languages.labels import Head
from progsem.probing.fits import WARMUP, Fitted, States, fit, whitened
from progsem.study import config
from progsem.study.vocabulary import TEST, TRAIN, VALIDATION

UNIT = "fits"
GROWTH = (12, 24, 48)

_STATES = {TRAIN: 13_000, VALIDATION: 3_300, TEST: 9_800}  # as generated programs have at the last checkpoint
_VARIABLES = 24
_JOBS = 2  # at once, with one thread each
_SAMPLED = (0, 1)  # heads that the baseline fits, in all depths
_ROUNDS = 2


class Case(NamedTuple):
    """What a job fits that probes one semantics: two data sets, the heads of all features, the recipe."""

    data: list[States]
    heads: list[Head]
    recipe: config.Probes


@cache
def case() -> Case:
    """Of the default study's shape."""
    default = study(None, {})
    heads = features.heads(default.probes.features, default.worlds.model_dump())
    width = default.lm.width
    split = np.repeat(list(_STATES), list(_STATES.values()))
    data = []
    for number, source in enumerate(default.probes.sources):
        random = np.random.default_rng(number)
        variables = random.normal(size=(len(split), _VARIABLES))
        states = variables @ random.normal(size=(_VARIABLES, width)) + random.normal(size=(len(split), width))
        hidden = np.maximum(variables @ random.normal(size=(_VARIABLES, 16)), 0)
        labels = [(hidden @ random.normal(size=(16, head.classes))).argmax(1) for head in heads]
        rows = np.arange(len(split))
        data.append(States(source, states.astype(np.float16), rows, np.stack(labels, 1).astype(np.uint8), split))
    return Case(data, heads, default.probes)


def job(steps: int | None = None) -> tuple[int, list[Fitted]]:
    """Fit all probes of a job on one thread: how many, and what came out. `steps`: other than the recipe's."""
    torch.set_num_threads(1)
    data, heads, recipe = case()
    if steps:
        recipe = recipe.model_copy(update={"steps": steps})
    fitted = fit(data, heads, recipe)
    return len(data) * len(heads) * len(recipe.depths) * recipe.seeds, fitted


def one_by_one() -> np.ndarray:
    """Fit the sample of probes to the first data set: whether each is right, (probes, test states) bool."""
    torch.manual_seed(0)
    (data, *_), heads, recipe = case()
    depths = recipe.depths.values()
    return np.stack([alone(data, head, heads[head].classes, widths, recipe) for widths in depths for head in _SAMPLED])


def alone(data: States, head: int, classes: int, widths: tuple[int, ...], recipe: config.Probes) -> np.ndarray:
    """Fit one probe as PyTorch's tutorials do, the best snapshot kept: whether it is right at each test state."""
    inputs = whitened(data, "cpu", torch.float32).states[:, :-1]
    labels = torch.from_numpy(data.labels[:, head]).long()
    split = {which: TensorDataset(inputs[data.of(which)], labels[data.of(which)]) for which in _STATES}
    loader = DataLoader(split[TRAIN], batch_size=recipe.batch, shuffle=True)
    layers = []
    for before, after in pairwise((inputs.shape[1], *widths, classes)):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    warmup = round(WARMUP * recipe.steps)

    def share(step: int) -> float:
        """Of the largest learning rate: the schedule of `ProbeBatch`."""
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (recipe.steps - warmup)))

    def right(which: int) -> torch.Tensor:
        with torch.no_grad():
            answers = [(model(x).argmax(1), y) for x, y in DataLoader(split[which], batch_size=recipe.batch)]
        return torch.cat([said == truth for said, truth in answers])

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    step, best, kept = 0, -1.0, None
    while step < recipe.steps:
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % (recipe.steps // recipe.evaluations) == 0:
                score = float(right(VALIDATION).float().mean())
                if score > best:
                    best, kept = score, deepcopy(model.state_dict())
            if step == recipe.steps:
                break
    model.load_state_dict(kept)
    return right(TEST).numpy()


def agreement(ours: Fitted, theirs: np.ndarray) -> str:
    """Mean test accuracies of the sampled probes in words; raises ValueError where ours is outside theirs' interval.

    That is the interval of a mean over test states, 95 %.
    """
    data, *_ = case()
    truth = data[0].labels[data[0].of(TEST)]
    right = ours.test == truth[:, None, None]
    mean = float(right[..., list(_SAMPLED)].mean())
    expected = float(theirs.mean())
    half = NormalDist().inv_cdf(0.975) * float(theirs.mean(0).std()) / math.sqrt(theirs.shape[1])
    if abs(mean - expected) > half:
        raise ValueError(f"probes: test accuracy is {mean:.4f}, the baseline's {expected:.4f} within {half:.4f}")
    return f"test accuracy {mean:.3f}, the baseline's {expected:.3f} within {half:.3f}"


def operations() -> float:
    """Of the products in a fit, the mean over those of a job: steps, evaluations and answers."""
    data, heads, recipe = case()
    total = 0.0
    for widths in recipe.depths.values():
        for head in heads:
            sizes = (data[0].activations.shape[1], *widths, head.classes)
            first, *later = [before * after for before, after in pairwise(sizes)]
            # Outputs and gradients of weights; behind the first layer those of activations as well.
            stepped = (2 * first + 3 * sum(later)) * recipe.batch * recipe.steps
            seen = (recipe.evaluations + 1) * _STATES[VALIDATION] + _STATES[TEST]
            total += 2 * (stepped + (first + sum(later)) * seen)
    return total / (len(recipe.depths) * len(heads))


def measure() -> list[Row]:
    """Fits a second on two cores."""
    threads = torch.get_num_threads()
    kept: dict[str, list] = {}

    def baseline(threads: int) -> None:
        torch.set_num_threads(threads)
        kept["theirs"] = one_by_one()

    with ProcessPoolExecutor(_JOBS, get_context("spawn")) as pool:

        def together(steps: int | None = None) -> None:
            kept["ours"] = [each.result() for each in [pool.submit(job, steps) for _ in range(_JOBS)]]

        together(steps=5)
        seconds = in_turn(_ROUNDS, ours=together, default=lambda: baseline(threads), one=lambda: baseline(1))
    times = {name: median(values) for name, values in seconds.items()}
    data, heads, recipe = case()
    fits = sum(count for count, _ in kept["ours"])
    sample = len(kept["theirs"])
    rates = {name: sample / times[name] for name in ("default", "one")}
    ours = kept["ours"][0][1][0]
    precision = choose_precision("auto", torch.device("cpu"))
    return [
        Row(
            stage="probes",
            work=f"{fits} fits of {recipe.steps} steps of {recipe.batch} states, {data[0].activations.shape[1]} wide, "
            f"in {_JOBS} processes of one thread; {agreement(ours, kept['theirs'])}",
            unit="fits/s",
            ours=fits / times["ours"],
            baseline=rates["default"],
            baseline_work=f"Sequential, DataLoader and AdamW in fp32, one probe after the other, {sample} of them; "
            f"on {threads} threads as torch has it by default; on one {rates['one']:.2f}/s",
            limit=matrix_rate(precision, 2) / operations(),
            limit_work=f"products of the fits at the measured {precision} rate".replace("torch.", ""),
            reach=50,
            reach_of="ratio",
        )
    ]


def grow(size: int) -> float:
    """Seconds of so many fits to one data set, on one thread."""
    torch.set_num_threads(1)
    data, heads, recipe = case()
    seeds = size // (len(heads) * len(recipe.depths))
    fit(data[:1], heads, recipe.model_copy(update={"seeds": 1, "steps": 5}))
    started = time.perf_counter()
    fit(data[:1], heads, recipe.model_copy(update={"seeds": seeds}))
    return time.perf_counter() - started

"""Time to accuracy: what training costs until programs are right, by the default study's recipe and the authors'.

Shape, documents, their order and the training loop are the default study's on both sides; the recipes differ in the
loss, the optimizer's settings and the initial weights. What counts is processor time of one thread in training steps;
decoding test specifications at marks on the way does not. Both are cut off where the default study's training ends.
Trainings run side by side, one a core, as in a study.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median

import numpy as np

from benchmarks.common import Row, study
from benchmarks.limits import matrix_rate, named
from benchmarks.training import TRACED, Ours
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm.traces import Tracer, satisfied, whole_programs
from progsem.study.config import LM
from progsem.study.vocabulary import TEST

REACH = {0.5: 75, 0.9: 200}  # level of greedy generative accuracy -> core-seconds
MODELS = 3
EVERY = 100  # steps from mark to mark
# Keys of the authors' recipe that are in studies/paper.yaml. Their loss counts all tokens alike.
_THEIRS = "learning_rate final_learning_rate warmup_steps decay_steps betas weight_decay initial_std".split()


@dataclass(frozen=True)
class Mark:
    """How far a training is: tokens seen, processor seconds spent, share of the test specifications solved."""

    tokens: float
    seconds: float
    accuracy: float


def first_at(marks: Sequence[Mark], level: float) -> Mark:
    """The first mark with that accuracy or more; one at infinity if there is none."""
    return next((mark for mark in marks if mark.accuracy >= level), Mark(math.inf, math.inf, level))


def middle(marks: Sequence[Mark]) -> Mark:
    """Medians of tokens, seconds and accuracy, each by itself."""
    return Mark(*(median(getattr(mark, name) for mark in marks) for name in ("tokens", "seconds", "accuracy")))


def recipe(authors: bool) -> LM:
    """Of the default study, or the authors' in its place."""
    paper = study("paper", {}).lm
    theirs = {key: getattr(paper, key) for key in _THEIRS} | {"prompt_weight": 1.0}
    return study(None, {"lm": theirs} if authors else {}).lm


class Trained:
    """A language model in training and the test specifications that it is asked."""

    def __init__(self, config: LM, seed: int):
        default = study(None, {"traces": TRACED})
        self.ours = Ours(default.corpus.train, config, seed)
        self.job = Job("traces", default.model_dump(mode="json"), {}, {})
        self.encoding = LANGUAGE.text.ENCODINGS[default.tokens.encoding]()
        self.rows = np.flatnonzero(self.ours.specifications.split == TEST)

    def accuracy(self) -> float:
        """Share of the test specifications for which it writes, greedily, what is right on every world shown."""
        asked = self.ours.specifications
        self.ours.model.eval()
        written = Tracer(self.ours.model, self.encoding, self.job).write(asked.prompts(self.encoding, self.rows))
        self.ours.model.train()
        worlds, outputs = (part.at(self.rows).at(asked.shown) for part in (asked.worlds, asked.outputs))
        limit = self.job.section("programs").step_limit
        right = satisfied(whole_programs(written), worlds, outputs, limit).all(axis=1)
        return float((right & written.finished).mean())

    def marks(self) -> list[Mark]:
        """Up to the highest level, or to the end of the default study's training."""
        found, seconds = [], 0.0
        while self.ours.done < self.ours.config.steps and (not found or found[-1].accuracy < max(REACH)):
            started = time.process_time()
            self.ours.steps(min(EVERY, self.ours.config.steps - self.ours.done))
            seconds += time.process_time() - started
            found.append(Mark(self.ours.tokens, seconds, self.accuracy()))
        return found


def train(authors: bool, seed: int) -> list[Mark]:
    """The marks of one training, of which the last is said: all of them take many minutes."""
    marks = Trained(recipe(authors), seed).marks()
    print(f"{'theirs' if authors else 'ours'}, model {seed}: {marks[-1]}", file=sys.stderr, flush=True)
    return marks


def measure() -> list[Row]:
    """A row for each level."""
    cores, spawn = len(os.sched_getaffinity(0)), get_context("spawn")
    with ProcessPoolExecutor(cores, spawn, max_tasks_per_child=1) as pool:  # memory grows over a training
        trainings = {
            authors: [pool.submit(train, authors, seed) for seed in range(MODELS)] for authors in (True, False)
        }
        ours, theirs = ([training.result() for training in trainings[authors]] for authors in (False, True))
    one = Ours(1_000)
    precision = one.trainer.precision
    rate = matrix_rate(precision, 1) / one.operations()
    return [row(level, ours, theirs, rate, named(precision)) for level in REACH]


def row(level: float, ours: list[list[Mark]], theirs: list[list[Mark]], rate: float, precision: str) -> Row:
    """What the trainings came to; `rate`: tokens a second that the products alone would allow.

    Where the median training does not arrive, its seconds are those of all of it, which is less than it would take.
    """
    work, arrived = {}, {}
    for name, curves in (("ours", ours), ("theirs", theirs)):
        arrived[name] = middle([first_at(marks, level) for marks in curves])
        work[name] = f"{arrived[name].tokens:,.0f} tokens"
        if math.isinf(arrived[name].seconds):
            arrived[name] = middle([marks[-1] for marks in curves])
            work[name] = (
                f"not within {arrived[name].tokens:,.0f} tokens, accuracy {arrived[name].accuracy:.3f} there; seconds "
                "until there"
            )
    return Row(
        stage=f"accuracy_{level}",
        work=f"{level:.0%} of {TRACED['test']:,} test specifications right, greedily, after {work['ours']}; "
        f"median of {MODELS} models, core-seconds",
        unit="s",
        ours=arrived["ours"].seconds,
        baseline=arrived["theirs"].seconds,
        baseline_work=f"the authors' recipe, same shape and data: {work['theirs']}",
        limit=arrived["ours"].tokens / rate,
        limit_work=f"{precision} products of as many tokens, at the rate of large matrices on one core",
        reach=REACH[level],
        reach_of="ours",
    )

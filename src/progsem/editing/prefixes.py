"""Natural counterfactuals: beginnings of programs whose states differ in one feature and no other that is probed.

Of a specification, the *base* is how its own program begins, the *target* another beginning of as many statements and
with the same last one, after which one feature of the state is another on every shown world, and all others that are
probed are the same. What the model does behind the target is what an edit of its state behind the base is measured by.
The *donor* belongs to another specification: there its own program begins with as many statements, and
with the same last one, and has led to the target's value of that feature. What carries the feature, and nothing else,
can be taken from either.

All beginnings are those of programs of the corpus, straight up to there and going on behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from progsem.languages import LANGUAGE
from progsem.languages.labels import Head, spans

CANDIDATES = 64  # beginnings that are tried for each base
SHORTEST = 2  # statements: of one, base and target would be the same


class Counterfactuals(NamedTuple):
    """P triples for one feature, of beginnings (P, L) with PAD behind them.

    program, donor_program: (P,), numbers of the specifications of base and target, and of the donor.
    length: (P,), statements. wanted: (P, heads), the labels behind the target in the first shown world, where all
    features but one are those behind the base, `had` (P, heads).
    """

    program: np.ndarray
    base: np.ndarray
    target: np.ndarray
    donor_program: np.ndarray
    donor: np.ndarray
    length: np.ndarray
    had: np.ndarray
    wanted: np.ndarray

    def at(self, which: np.ndarray) -> Counterfactuals:
        """Some of the triples."""
        return Counterfactuals(*(array[which] for array in self))


@dataclass(frozen=True)
class Meaning:
    """How states are labelled: the heads that are asked, what statements mean, and when a program is cut short."""

    heads: list[Head]
    meanings: tuple[int, ...]
    step_limit: int

    def labels(self, programs: np.ndarray, worlds, last: np.ndarray) -> np.ndarray:
        """(N, K, heads) uint8: the states behind statement `last` (N,) of programs (N, L) in worlds (N, K)."""
        features = tuple(spans(self.heads))
        first = [worlds.at(np.s_[:, shown]) for shown in range(worlds[0].shape[1])]
        numbers = np.arange(len(programs))
        runs = (LANGUAGE.execution.trace(programs, each, self.step_limit, self.meanings) for each in first)
        return np.stack([LANGUAGE.features.labels(features, run.states(numbers, last)) for run in runs], 1)


class Beginnings:
    """All beginnings of some programs that may be a base: which program's, how long, and the states behind them.

    programs: (N, L) codes; worlds: (N, K), those shown.
    """

    def __init__(self, programs: np.ndarray, worlds, meaning: Meaning):
        self.programs, self.worlds, self.meaning = programs, worlds, meaning
        straight = LANGUAGE.codes.is_action(programs).cumprod(axis=1).astype(bool)
        goes_on = np.pad(programs[:, 1:] != LANGUAGE.codes.PAD, ((0, 0), (0, 1)))
        self.program, last = np.nonzero((straight & goes_on)[:, SHORTEST - 1 :])
        self.length = last + SHORTEST
        places = np.arange(programs.shape[1])
        self.codes = np.where(places < self.length[:, None], programs[self.program], np.uint8(LANGUAGE.codes.PAD))
        self.final = self.codes[np.arange(len(self.codes)), self.length - 1]
        self.labels = meaning.labels(self.codes, worlds.at(self.program), self.length - 1)

    def counterfactuals(self, features: tuple[str, ...], wanted: int, seed: int) -> dict[str, Counterfactuals]:
        """For each feature up to so many triples, drawn from `seed` alone; there may be none."""
        rng = np.random.default_rng((seed, len(self.codes)))
        order = rng.permutation(len(self.codes))
        alike = self._grouped(np.stack([self.length, self.final], axis=1))
        candidates = np.empty((len(self.codes), CANDIDATES), np.int64)
        for group in alike.values():
            candidates[group] = rng.choice(group, (len(group), CANDIDATES))
        found = {}
        labels = np.empty((len(self.codes), CANDIDATES, *self.labels.shape[1:]), np.uint8)
        for column in range(CANDIDATES):
            tried = self.codes[candidates[:, column]]
            labels[:, column] = self.meaning.labels(tried, self.worlds.at(self.program), self.length - 1)
        for feature in features:
            fits = self._differ_only_in(feature, labels)
            bases = order[fits.any(axis=1)[order]]
            column = fits[bases].argmax(axis=1)
            found[feature] = self._with_donors(
                feature, bases, candidates[bases, column], labels[bases, column], wanted, rng
            )
        return found

    def _differ_only_in(self, feature: str, labels: np.ndarray) -> np.ndarray:
        """(N, candidates) bool: where labels (N, candidates, K, heads) differ from the base's in that feature alone."""
        span = spans(self.meaning.heads)[feature]
        differ = labels != self.labels[:, None]
        others = np.ones(differ.shape[-1], bool)
        others[span] = False
        return differ[..., span].any(axis=-1).all(axis=-1) & ~differ[..., others].any(axis=(-1, -2))

    def _with_donors(
        self, feature: str, bases: np.ndarray, targets: np.ndarray, labels: np.ndarray, wanted: int, rng
    ) -> Counterfactuals:
        """Triples of the first `wanted` bases that have a donor; labels (n, K, heads) are the targets'."""
        span = spans(self.meaning.heads)[feature]
        values = self.labels[..., span].reshape(len(self.labels), -1)
        groups = self._grouped(np.column_stack([self.length, self.final, values]))
        kept, donors = [], []
        for index, base in enumerate(bases):
            if len(kept) == wanted:
                break
            group = groups.get((self.length[base], self.final[base], *labels[index, :, span].ravel()), bases[:0])
            others = group[self.program[group] != self.program[base]]
            if len(others):
                kept.append(index)
                donors.append(rng.choice(others))
        kept, donors = np.array(kept, np.int64), np.array(donors, np.int64)
        bases = bases[kept]
        return Counterfactuals(
            program=self.program[bases],
            base=self.codes[bases],
            target=self.codes[targets[kept]],
            donor_program=self.program[donors],
            donor=self.codes[donors],
            length=self.length[bases],
            had=self.labels[bases, 0],
            wanted=labels[kept, 0],
        )

    @staticmethod
    def _grouped(keys: np.ndarray) -> dict[tuple, np.ndarray]:
        """Numbers of the rows with equal keys (N, k)."""
        if not len(keys):
            return {}
        values, which = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(which.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(which.reshape(-1)))[:-1]
        return dict(zip(map(tuple, values.tolist()), np.split(order, ends), strict=True))

"""Description length: bits that the labels of training states take, given their hidden states (Voita & Titov 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from progsem.measures import intervals
from progsem.measures.content import in_all, with_mean
from progsem.measures.intervals import Estimate, quotient
from progsem.measures.resampling import TRAINING_PROGRAMS, Resamples
from progsem.measures.results import Checkpoint, Settings
from progsem.storage.files import read_table
from progsem.study.vocabulary import SOURCES, TRAIN


@dataclass(frozen=True)
class Bits:
    """The description of one source's training labels.

    values: bits per state (1 + R, U, F + 1, D); uniform: those of the uniform code
    (F + 1,); the last feature is the mean over features. states, programs: that were coded.
    """

    values: np.ndarray
    uniform: np.ndarray
    states: int
    programs: int

    def estimate(self, settings: Settings) -> Estimate:
        """Bits per state with their interval, (F + 1, D)."""
        return intervals.estimate(self.values, settings.statistics.confidence, self.programs)

    def compression(self, row: dict, feature: int) -> dict:
        """By how many times the uniform code is longer than the `bits` of a feature's row, and what was coded."""
        bits = np.array([row["bits"], row["bits_high"], row["bits_low"]])
        columns = ("compression", "compression_low", "compression_high")
        times = dict(zip(columns, quotient(self.uniform[feature], bits), strict=True))
        return times | {"n_coded_states": self.states, "n_coded_programs": self.programs}


def description_bits(checkpoint: Checkpoint, settings: Settings) -> dict[str, Bits]:
    """Online code length per state of the training labels, by source; none without controls."""
    if checkpoint.controls is None:
        return {}
    columns, about = read_table(checkpoint.controls.description)
    train = np.flatnonzero(read_table(checkpoint.programs)[0]["split"] == TRAIN)
    depths = [about["depths"].index(depth) for depth in settings.depths]
    draws = Resamples.drawn(settings, TRAINING_PROGRAMS, len(train))
    uniform = np.array([about["uniform"][feature] for feature in settings.features])
    found = {}
    for source in settings.sources:
        here = np.flatnonzero(columns["source"] == SOURCES.index(source))
        if not len(here):
            continue
        cluster = np.searchsorted(train, columns["program"][here])
        coded = [
            columns[f"bits_{feature}"][here].reshape(len(here), len(about["depths"]), about["seeds"])[:, depths]
            for feature in settings.features
        ]
        coded = np.stack(coded, axis=1)  # (N, F, D, S)
        flat = np.concatenate([np.ones((len(here), 1)), coded.reshape(len(here), -1)], axis=1)
        sums = np.stack([np.bincount(cluster, weights=column, minlength=len(train)) for column in flat.T], axis=1)
        totals = draws.totals(sums)
        per_state = quotient(totals[:, 1:], totals[:, :1]).reshape(len(totals), *coded.shape[1:])
        found[source] = Bits(
            values=with_mean(np.moveaxis(per_state, 3, 1)),
            uniform=np.append(uniform, uniform.mean()),
            states=len(here),
            programs=len(np.unique(cluster)),
        )
    return found


def pool_bits(each: list[dict[str, Bits]]) -> dict[str, Bits]:
    """Descriptions with the language models as units, each the mean of its probes; counts are summed."""
    return {
        source: Bits(
            values=np.stack([one[source].values.mean(axis=1) for one in each], axis=1),
            uniform=each[0][source].uniform,
            states=sum(one[source].states for one in each),
            programs=sum(one[source].programs for one in each),
        )
        for source in in_all(each)
    }

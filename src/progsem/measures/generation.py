"""What the language model writes: accuracy, perplexity, diversity, lengths, with intervals.

A specification is one test program, so these are independent draws and need no
clusters. Entropies are those of the sample of n programs ("plug-in"), at most
log2 n bits and too small by about (distinct - 1) / (2 n ln 2) bits (Miller 1955);
their intervals, and those of the share of distinct programs, say what another n
specifications would give, so compare them with the references' only, which are
as many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from progsem.measures import intervals
from progsem.measures.intervals import Estimate, quotient
from progsem.measures.resampling import Resamples
from progsem.measures.results import Settings, statements

ACCURACIES = {  # shares of specifications, and the columns of programs.arrow that say of which
    "generative_accuracy": "correct_shown",
    "strict_accuracy": "correct_all",
    "unconstrained_accuracy": "unconstrained_correct",
    "unconstrained_parses": "unconstrained_parses",
    "finished": "generated_finished",
}


class Sampled(NamedTuple):
    """A statistic of generated programs: values (1 + R, U), one language model a unit, and of how many programs."""

    values: np.ndarray
    n: int


def generation_statistics(
    programs: dict[str, np.ndarray], draws: Resamples, training_length: float
) -> dict[str, Sampled]:
    """What one language model wrote for the test specifications; `training_length` is the training programs' mean."""
    correct = programs["correct_shown"].astype(bool)
    lengths = {name: statements(programs[name]) for name in ("generated", "reference")}
    numbers = {name: programs[name] for name in (*ACCURACIES.values(), *(f"{name}_tokens" for name in lengths))}
    numbers |= {"all": np.ones(len(correct)), "correct": correct}
    for name, length in lengths.items():
        numbers |= {f"{name}_length": length, f"{name}_length_of_correct": length * correct}
        numbers[f"{name}_log_likelihood"] = programs[f"{name}_log_likelihood"]
    diversity = {
        name + kind: values
        for written, kind in (("generated", ""), ("reference", "_reference"))
        for name, values in pseudo_values(programs[written]).items()
    }
    numbers |= diversity
    totals = dict(zip(numbers, draws.totals(np.stack(list(numbers.values()), axis=1)).T, strict=True))

    def mean(name: str, of: str = "all") -> np.ndarray:
        return quotient(totals[name], totals[of])

    of_all = {name: mean(column) for name, column in ACCURACIES.items()} | {name: mean(name) for name in diversity}
    for name in lengths:
        of_all[f"perplexity_{name}"] = np.exp(-mean(f"{name}_log_likelihood", f"{name}_tokens"))
        of_all[f"mean_length_{name}"] = mean(f"{name}_length")
    length, wanted = (mean(f"{name}_length_of_correct", "correct") for name in lengths)
    of_correct = {
        "mean_length_generated_correct": length,
        "mean_length_reference_of_correct": wanted,
        "longer_than_training": length - training_length,
        "longer_than_references": length - wanted,
    }
    return {
        name: Sampled(values[:, None], n)
        for n, statistics in ((len(correct), of_all), (int(correct.sum()), of_correct))
        for name, values in statistics.items()
    }


def pseudo_values(programs: np.ndarray) -> dict[str, np.ndarray]:
    """Of the share of distinct programs among (N, L) and of the entropy of their distribution in bits, (N,) each.

    Their mean is the statistic. A resample has fewer distinct programs than its sample, so drawing programs again
    would bias both; means of the jackknife's pseudo-values (Efron & Tibshirani 1993, ch. 11) are linear in the draws.
    """
    which, counts = np.unique(programs, axis=0, return_inverse=True, return_counts=True)[1:]
    n = len(programs)
    terms = counts * np.log2(counts)
    fewer = np.maximum(counts - 1, 1)
    without = {
        "distinct": (len(counts) - (counts == 1)) / max(n - 1, 1),
        "entropy_bits": np.log2(max(n - 1, 1)) - (terms.sum() - terms + fewer * np.log2(fewer)) / max(n - 1, 1),
        # A program that occurs once leaves nothing behind; `fewer` takes it for one, whose term is 0 as well.
    }
    whole = {"distinct": len(counts) / n, "entropy_bits": np.log2(n) - terms.sum() / n}
    values = {}
    for name, value in whole.items():
        pseudo = (n * value - (n - 1) * without[name])[which.reshape(-1)]
        values[name] = value + pseudo - pseudo.mean()
    return values


def pool_generations(each: list[dict[str, Sampled]]) -> dict[str, Sampled]:
    """The same statistics with the language models as units."""
    return {
        name: Sampled(np.concatenate([one[name].values for one in each], axis=1), sum(one[name].n for one in each))
        for name in each[0]
    }


def generation_estimates(statistics: dict[str, Sampled], settings: Settings) -> dict[str, Estimate]:
    """Estimates of all statistics."""
    ranges = {name: intervals.SHARE for name in (*ACCURACIES, "distinct", "distinct_reference")}
    ranges |= {f"perplexity_{kind}": (1.0, np.inf) for kind in ("generated", "reference")}
    ranges |= {name: (0.0, np.log2(settings.test)) for name in ("entropy_bits", "entropy_bits_reference")}
    ranges |= {name: intervals.POSITIVE for name in statistics if name.startswith("mean_length")}
    return {
        name: intervals.estimate(
            values, settings.statistics.confidence, n // values.shape[1], ranges.get(name, intervals.ANY)
        )
        for name, (values, n) in statistics.items()
    }


def generated_lengths(programs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Numbers of test programs by statements: generated, the correct ones, their references, all references."""
    correct = programs["correct_shown"].astype(bool)
    generated, reference = statements(programs["generated"]), statements(programs["reference"])
    return {
        "generated": np.bincount(generated),
        "generated_correct": np.bincount(generated[correct]),
        "reference": np.bincount(reference),
        "reference_of_correct": np.bincount(reference[correct]),
    }


def mean_of_counts(counts: np.ndarray) -> float:
    """Mean of a distribution given as counts of 0, 1, 2, …"""
    return float(counts @ np.arange(len(counts)) / counts.sum())

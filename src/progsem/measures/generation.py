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

from progsem.measures import bootstrap
from progsem.measures.bootstrap import Estimate
from progsem.measures.draws import Draws
from progsem.measures.results import Settings, statements

SHARES = ("generative_accuracy", "strict_accuracy", "unconstrained_accuracy", "unconstrained_parses", "finished")
# What is compared with the correct programs' mean length in `length_tests`, by the column with the difference.
COMPARISONS = {"longer_than_training": "correct_vs_training", "longer_than_references": "correct_vs_their_references"}


class Sampled(NamedTuple):
    """A statistic of generated programs: values (1 + R, U), one language model a unit, and of how many programs."""

    values: np.ndarray
    n: int


def generation_statistics(programs: dict[str, np.ndarray], draws: Draws, training_length: float) -> dict[str, Sampled]:
    """What one language model wrote for the test specifications; `training_length` is the training programs' mean."""
    generated, reference = statements(programs["generated"]), statements(programs["reference"])
    correct = programs["correct_shown"].astype(bool)
    test, solved = len(correct), int(correct.sum())
    pseudo = [pseudo_values(programs[written]) for written in ("generated", "reference")]
    counted = draws.totals(
        np.stack(
            [
                np.ones(test),
                correct,
                programs["correct_all"],
                programs["unconstrained_correct"],
                programs["unconstrained_parses"],
                programs["generated_finished"],
                generated,
                generated * correct,
                reference,
                reference * correct,
                programs["generated_log_likelihood"],
                programs["generated_tokens"],
                programs["reference_log_likelihood"],
                programs["reference_tokens"],
                *(values for one in pseudo for values in one.values()),
            ],
            axis=1,
        ),
    ).T
    (n, right, strict, free, parses, finished, length, length_right, wanted, wanted_right, *others) = counted
    length_right, wanted_right = (bootstrap.ratio(total, right) for total in (length_right, wanted_right))
    likelihood, diversity = others[:4], {}
    names = [name + kind for one, kind in zip(pseudo, ("", "_reference"), strict=True) for name in one]
    for name, total in zip(names, others[4:], strict=True):
        diversity[name] = total / n
    of_all = {
        "generative_accuracy": right / n,
        "strict_accuracy": strict / n,
        "unconstrained_accuracy": free / n,
        "unconstrained_parses": parses / n,
        "finished": finished / n,
        "perplexity_generated": np.exp(-bootstrap.ratio(*likelihood[:2])),
        "perplexity_reference": np.exp(-bootstrap.ratio(*likelihood[2:])),
        "mean_length_generated": length / n,
        "mean_length_reference": wanted / n,
        **diversity,
    }
    of_solved = {
        "mean_length_generated_correct": length_right,
        "mean_length_reference_of_correct": wanted_right,
        "longer_than_training": length_right - training_length,
        "longer_than_references": length_right - wanted_right,
    }
    return {name: Sampled(values[:, None], test) for name, values in of_all.items()} | {
        name: Sampled(values[:, None], solved) for name, values in of_solved.items()
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
    ranges = {name: bootstrap.SHARE for name in (*SHARES, "distinct", "distinct_reference")}
    ranges |= {f"perplexity_{kind}": (1.0, np.inf) for kind in ("generated", "reference")}
    ranges |= {name: (0.0, np.log2(settings.test)) for name in ("entropy_bits", "entropy_bits_reference")}
    ranges |= {name: bootstrap.POSITIVE for name in statistics if name.startswith("mean_length")}
    return {
        name: bootstrap.estimate(
            values, settings.statistics.confidence, n // values.shape[1], ranges.get(name, bootstrap.ANY)
        )
        for name, (values, n) in statistics.items()
    }


def generation_row(
    statistics: dict[str, Sampled], estimates: dict[str, Estimate], settings: Settings, training_lengths: np.ndarray
) -> dict:
    """Estimates with intervals; the training programs' mean length is exact, being that of all of them."""
    row = {
        "n_test": settings.test,
        "n_correct": statistics["mean_length_generated_correct"].n,
        "mean_length_training": mean_of_counts(training_lengths),
        "n_training": int(training_lengths.sum()),
    }
    for name, estimate in estimates.items():
        if name in COMPARISONS:
            continue
        low, high = estimate.interval()
        if name in SHARES:
            low, high = bootstrap.share_interval(estimate, settings.test)
        row |= {name: estimate.value, f"{name}_low": low, f"{name}_high": high}
    return row


def length_test_rows(statistics: dict[str, Sampled], estimates: dict[str, Estimate]) -> list[dict]:
    """How much longer correct programs are than all training programs, and than the references they stand for."""
    rows = []
    for name, comparison in COMPARISONS.items():
        low, high = estimates[name].interval()
        rows.append(
            {
                "comparison": comparison,
                "difference": estimates[name].value,
                "difference_low": low,
                "difference_high": high,
                "p": estimates[name].p_value(),
                "n": statistics[name].n,
            }
        )
    return rows


def training_progress(training: list[dict], seed: int, step: int) -> dict:
    """Tokens and programs that the LM has been trained on at a checkpoint, as last logged up to it."""
    logged = [row for row in training if row["lm_seed"] == seed and row["step"] <= step]
    return {name: logged[-1][name] if logged and step else 0 for name in ("tokens", "programs")}


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


def length_rows(seed: int | None, step: int | None, kind: str, counts: np.ndarray) -> list[dict]:
    """A row for each number of statements that occurs."""
    at = {"lm_seed": seed, "step": step, "programs": kind}
    return [at | {"statements": length, "count": int(count)} for length, count in enumerate(counts) if count]


def mean_of_counts(counts: np.ndarray) -> float:
    """Mean of a distribution given as counts of 0, 1, 2, …"""
    return float(counts @ np.arange(len(counts)) / counts.sum())

"""What the language model writes: accuracy, perplexity, diversity, lengths, with intervals."""

from __future__ import annotations

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.columns import TABLES
from progsem.measures.results import Settings, statements


def generation_statistics(programs: dict[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray | float]:
    """What the LM wrote for the test specifications: shares, means and perplexities, each (1 + R,) or a float."""
    generated, reference = statements(programs["generated"]), statements(programs["reference"])
    correct = programs["correct_shown"].astype(bool)
    counted = bootstrap.totals(
        weights,
        np.stack(
            [
                np.ones(len(correct)),
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
            ],
            axis=1,
        ),
    ).T
    (n, right, strict, free, parses, finished, length, length_right, wanted, wanted_right, *likelihood) = counted
    counts = np.unique(programs["generated"], axis=0, return_counts=True)[1]
    counts_reference = np.unique(programs["reference"], axis=0, return_counts=True)[1]
    return {
        "generative_accuracy": right / n,
        "strict_accuracy": strict / n,
        "unconstrained_accuracy": free / n,
        "unconstrained_parses": parses / n,
        "finished": finished / n,
        "perplexity_generated": np.exp(-bootstrap.ratio(likelihood[0], likelihood[1])),
        "perplexity_reference": np.exp(-bootstrap.ratio(likelihood[2], likelihood[3])),
        "mean_length_generated": length / n,
        "mean_length_generated_correct": bootstrap.ratio(length_right, right),
        "mean_length_reference": wanted / n,
        "mean_length_reference_of_correct": bootstrap.ratio(wanted_right, right),
        "distinct": len(counts) / len(correct),
        "distinct_reference": len(counts_reference) / len(correct),
        "entropy_bits": bootstrap.entropy_bits(counts),
        "entropy_bits_reference": bootstrap.entropy_bits(counts_reference),
    }


def generation_row(statistics: dict, settings: Settings, training_lengths: np.ndarray) -> dict:
    """Estimates, and intervals where the table has columns for them."""
    row = {"n_test": settings.test, "mean_length_training": mean_of_counts(training_lengths)}
    for name, values in statistics.items():
        if not isinstance(values, np.ndarray):
            row[name] = values
            continue
        row[name] = values[0]
        if f"{name}_low" in TABLES["checkpoints"]:
            low, high = bootstrap.interval(values, settings.statistics.confidence)
            row |= {f"{name}_low": low, f"{name}_high": high}
    return row


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

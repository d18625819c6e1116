"""Rows of the tables on what the language model writes: `checkpoints`, `lengths`, `length_tests`."""

from __future__ import annotations

from progsem.measures.analysis import Analysis
from progsem.measures.generation import ACCURACIES, generation_estimates
from progsem.measures.intervals import share_interval
from progsem.measures.results import POOLED

# What is compared with the correct programs' mean length in `length_tests`, by the column with the difference.
COMPARISONS = {"longer_than_training": "correct_vs_training", "longer_than_references": "correct_vs_their_references"}


def checkpoint_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `checkpoints`; the training programs' mean length is exact, being that of all of them."""
    settings, rows = analysis.settings, []
    for at, measured in analysis.measured():
        written = measured.written
        row = at | training_progress(at, analysis) | {"n_test": settings.test}
        row |= {"mean_length_training": analysis.training_length, "n_training": int(analysis.training_lengths.sum())}
        row["n_correct"] = written["mean_length_generated_correct"].n
        for statistic, estimate in generation_estimates(written, settings).items():
            low, high = estimate.interval()
            if statistic in ACCURACIES:
                low, high = share_interval(estimate, settings.test)
            row |= {statistic: estimate.value, f"{statistic}_low": low, f"{statistic}_high": high}
        rows.append(row)
    return rows


def length_test_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `length_tests`: how much longer correct programs are than others."""
    rows = []
    for at, measured in analysis.measured():
        estimates = generation_estimates(measured.written, analysis.settings)
        for statistic, comparison in COMPARISONS.items():
            estimate = estimates[statistic]
            row = at | {"comparison": comparison, "difference": estimate.value, "p": estimate.p_value()}
            row["difference_low"], row["difference_high"] = estimate.interval()
            rows.append(row | {"n": measured.written[statistic].n})
    return rows


def length_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `lengths`: one for each number of statements that occurs."""
    counted = [({"programs": "training"}, analysis.training_lengths)]
    for at, measured in analysis.measured():
        counted += [(at | {"programs": kind}, counts) for kind, counts in measured.lengths.items()]
    return [
        at | {"statements": length, "count": int(count)}
        for at, counts in counted
        for length, count in enumerate(counts)
        if count
    ]


def training_progress(at: dict, analysis: Analysis) -> dict:
    """Tokens and programs that the LM has been trained on at a checkpoint, as last logged up to it."""
    seed = analysis.settings.lm.seeds[0] if at["lm_seed"] == POOLED else at["lm_seed"]
    logged = [row for row in analysis.rows("training", lm_seed=seed) if row["step"] <= at["step"]]
    return {name: logged[-1][name] if logged and at["step"] else 0 for name in ("tokens", "programs")}

"""How many tokens a language model has been trained on when it first solves so many specifications.

Between checkpoints, generative accuracy is taken to rise in proportion to the tokens. Those of a warm-up
(`lm.warmup`) count, as they are paid for as well.
"""

from __future__ import annotations

import math

from progsem.measures.analysis import Analysis
from progsem.measures.intervals import mean_interval
from progsem.measures.results import POOLED

ACCURACIES = (0.5, 0.9)  # for half of the specifications, and for nine tenths


def milestone_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table: of each language model, and the mean of those that get there, if all do."""
    settings, rows = analysis.settings, []
    for accuracy in ACCURACIES:
        found = {}
        for seed in settings.lm.seeds:
            warmed, each = analysis.warmup_tokens[seed], analysis.rows("checkpoints", lm_seed=seed)
            tokens = first_reached([(row["tokens"], row["generative_accuracy"]) for row in each], accuracy)
            found[seed] = warmed + tokens if tokens is not None else math.nan
            rows.append({"lm_seed": seed, "share": accuracy, "tokens": found[seed], "warmup_tokens": warmed})
        if settings.pooled:
            low = high = mean = math.nan
            if not any(map(math.isnan, found.values())):
                mean, low, high = mean_interval(list(found.values()), settings.statistics.confidence)
            warmed = sum(analysis.warmup_tokens.values()) / len(found)
            row = {"lm_seed": POOLED, "share": accuracy, "tokens": mean, "warmup_tokens": warmed}
            rows.append(row | {"tokens_low": max(low, 0.0), "tokens_high": high})
    return [{"tokens_low": math.nan, "tokens_high": math.nan} | row for row in rows]


def first_reached(curve: list[tuple[float, float]], accuracy: float) -> float | None:
    """Tokens at which a curve of tokens and accuracies, in order, first has that accuracy; None where it never has."""
    for (before, low), (after, high) in zip([(0, -math.inf), *curve], curve, strict=False):
        if high >= accuracy:
            return after if low == -math.inf else before + (after - before) * (accuracy - low) / (high - low)
    return None

"""Sparse dictionaries: how well their features are the program's states, over the language models.

What the stage `transcoders` says of each checkpoint is read, and averaged over the blocks and over the language models,
whose spread the intervals are of: where there is one model, there are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from progsem.measures.analysis import Analysis
from progsem.measures.intervals import mean_interval
from progsem.measures.results import POOLED
from progsem.storage.files import read_csv
from progsem.study.vocabulary import MEAN, ORIGINAL

MEASURED = ("coverage", "reconstruction", "variance", "loss_recovered")  # which have intervals
LEAST_RISE = 0.01  # of the loss, in nats a token, by which an MLP matters enough to ask what of that is saved
AHEAD = ("coverage", "reconstruction")  # of which the original is set beside the other semantics
_COUNTED = ("features", "always", "precise", "active", "dead", "rise", "rise_by_mean")


def transcoder_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table: of each language model, then of all; of each block, then their mean."""
    found: dict[int, dict[tuple, dict]] = {}
    for (seed, step), path in analysis.transcoders["scores"].items():
        own = found.setdefault(seed, {})
        for row in read_csv(path):
            numbers = {name: float(row[name] or math.nan) for name in row if name in (*MEASURED, *_COUNTED)}
            own[step, row["layer"], row["kind"], row["semantics"]] = numbers | _recovered(numbers)
    for own in found.values():
        _with_means(own)
        _with_leads(own)
    rows = [_row(seed, key, numbers) for seed, own in found.items() for key, numbers in own.items()]
    if analysis.settings.pooled and found:
        confidence = analysis.settings.statistics.confidence
        for key in next(iter(found.values())):
            each = [own[key] for own in found.values() if key in own]
            if len(each) == len(found):
                rows.append(_row(POOLED, key, _pooled(each, confidence)))
    return rows


def property_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `transcoder_properties`, as the stage wrote them."""
    rows = []
    for (seed, step), path in analysis.transcoders["properties"].items():
        for row in read_csv(path):
            numbers = {name: float(row[name]) for name in ("threshold", "f1", "train_f1", "precision", "always")}
            whole = {name: int(row[name]) for name in ("value", "unit")}
            rows.append({"lm_seed": seed, "step": step} | row | numbers | whole)
    return rows


def _with_means(own: dict[tuple, dict]) -> None:
    """Add the mean over blocks of each step, kind and semantics."""
    groups: dict[tuple, list[dict]] = {}
    for (step, _, kind, semantics), numbers in own.items():
        groups.setdefault((step, MEAN, kind, semantics), []).append(numbers)
    for key, rows in groups.items():
        means = {name: _mean(row[name] for row in rows) for name in rows[0]}
        own[key] = means | _recovered(means)


def _recovered(numbers: dict) -> dict:
    """Of what the loss rises by when an MLP gives its mean, or of the mean over MLPs, the share that is saved."""
    matters = numbers["rise_by_mean"] >= LEAST_RISE
    return {"loss_recovered": 1 - numbers["rise"] / numbers["rise_by_mean"] if matters else math.nan}


def _with_leads(own: dict[tuple, dict]) -> None:
    """Add to the original's numbers how far they are ahead of the other semantics' ones."""
    for (step, layer, kind, semantics), numbers in own.items():
        if semantics != ORIGINAL:
            for name in AHEAD:
                beside = own[step, layer, kind, ORIGINAL]
                beside[f"{name}_ahead"] = beside[name] - numbers[name]


def _pooled(each: list[dict], confidence: float) -> dict:
    pooled = {}
    for name in each[0]:
        values = [numbers[name] for numbers in each]
        if name in _COUNTED or any(map(math.isnan, values)):
            pooled[name] = _mean(values)
        else:
            pooled[name], pooled[f"{name}_low"], pooled[f"{name}_high"] = mean_interval(values, confidence)
    return pooled


def _row(name: int | str, key: tuple, numbers: dict) -> dict:
    return {"lm_seed": name, **dict(zip(("step", "layer", "kind", "semantics"), key, strict=True)), **numbers}


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)

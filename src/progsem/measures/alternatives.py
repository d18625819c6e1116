"""Rows of the table `alternatives`: the original semantics beside each alternative, on the same programs."""

from __future__ import annotations

from itertools import product

import numpy as np

from progsem.measures.analysis import Analysis
from progsem.measures.content import DIFFERING, ContentKey
from progsem.measures.content_estimates import Estimated, rows_of
from progsem.measures.intervals import holm
from progsem.measures.results import MEAN, Settings


def alternative_rows(analysis: Analysis) -> list[dict]:
    """Rows of every checkpoint.

    Holm's family are the alternatives of one kind: those of the config, or the drawn permutations.
    """
    settings = analysis.settings
    drawn = [name for pair in settings.permutations for name in pair]
    rows = []
    families = {"named": settings.alternatives, "permutation": drawn}
    for at, _ in analysis.measured():
        compared = analysis.compared[at["lm_seed"]][at["step"]]
        for *where, family in product(
            settings.sources, sorted(settings.interventions.offsets), (*settings.states, DIFFERING), families
        ):
            keys = [ContentKey(alternative, *where) for alternative in families[family]]
            rows += [at | {"family": family} | row for row in _family(compared, keys, settings)]
    return rows


def _family(compared: Estimated, keys: list[ContentKey], settings: Settings) -> list[dict]:
    """Rows of the alternatives among these that are there, with p-values adjusted for their number."""
    keys = [key for key in keys if key in compared.counts]
    if not keys:
        return []
    p = np.stack([compared.estimates[key]["difference"].p_value() for key in keys], axis=-1)
    adjusted = holm(p)
    rows = []
    for index, key in enumerate(keys):
        count = compared.counts[key]
        for (f, d), row in rows_of(compared.estimates[key], settings):
            row |= {
                "source": key.source,
                "offset": key.offset,
                "states": key.states,
                "alternative": key.semantics,
                "difficulty_matched": key.semantics == settings.interventions.difficulty_matched,
                "p": p[f, d, index],
                "p_holm": adjusted[f, d, index],
                "n_features": count.features if row["feature"] == MEAN else 1,
            }
            rows.append(row | count.at(f) | {name: values[f] for name, values in vars(count.labels).items()})
    return rows

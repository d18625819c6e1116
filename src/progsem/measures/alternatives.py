"""Rows of the table `alternatives`: the original semantics beside each alternative, on the same programs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import product

import numpy as np

from progsem.measures.analysis import Analysis
from progsem.measures.content import DIFFERING, ContentKey
from progsem.measures.content_estimates import Estimated, rows_of
from progsem.measures.intervals import holm
from progsem.measures.results import Settings
from progsem.study.vocabulary import MEAN


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
            keys = [key for key in keys if key in compared.counts]
            for row in columns_of(compared, keys, settings) if keys else ():
                matched = row["semantics"] == settings.interventions.difficulty_matched
                row |= at | {"family": family, "alternative": row["semantics"], "difficulty_matched": matched}
                rows.append(row)
    return rows


def columns_of(compared: Estimated, keys: list[Hashable], settings: Settings) -> Iterator[dict]:
    """The columns of estimates, p-values and counts of these, with p-values adjusted for their number."""
    p = np.stack([compared.estimates[key]["difference"].p_value() for key in keys], axis=-1)
    adjusted = holm(p)
    for index, key in enumerate(keys):
        count = compared.counts[key]
        for (f, d), row in rows_of(compared.estimates[key], settings):
            row |= key._asdict() | {"p": p[f, d, index], "p_holm": adjusted[f, d, index]}
            row["n_features"] = count.features if row["feature"] == MEAN else 1
            yield row | count.at(f) | {name: values[f] for name, values in count.labels._asdict().items()}

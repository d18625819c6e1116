"""Rows of the tables on semantic content, and of the original semantics against the alternatives."""

from __future__ import annotations

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.content import Content
from progsem.measures.results import MEAN, ORIGINAL, Settings


def add_content_rows(tables: dict, at: dict, contents: dict, pairs: dict, settings: Settings, extras: dict) -> None:
    """Append the rows of one checkpoint to the tables `probes`, `offsets` and `alternatives`."""
    confidence = settings.statistics.confidence
    features = (*settings.features, MEAN)
    for (semantics, source, *rest), content in contents.items():
        offset, states = rest
        accuracy, corrected = (bootstrap.interval(x, confidence) for x in (content.accuracy, content.corrected))
        for d, depth in enumerate(settings.depths):
            for f, feature in enumerate(features):
                row = at | {
                    "semantics": semantics,
                    "source": source,
                    "states": states,
                    "depth": depth,
                    "feature": feature,
                    "accuracy": content.accuracy[0, f, d],
                    "accuracy_low": accuracy[0][f, d],
                    "accuracy_high": accuracy[1][f, d],
                    "majority": content.majority[0, f],
                    "corrected": content.corrected[0, f, d],
                    "corrected_low": corrected[0][f, d],
                    "corrected_high": corrected[1][f, d],
                    "n_states": content.states[f],
                    "n_programs": content.programs[f],
                }
                if offset == 0:
                    extra = extras.get((semantics, source, depth, feature), {}) if states == settings.states[0] else {}
                    tables["probes"].append(row | extra)
                if semantics == ORIGINAL:
                    tables["offsets"].append(row | {"offset": offset})
    for source in settings.sources:
        for states in (*settings.states, "differing"):
            names = [name for name in settings.alternatives if (name, source, states) in pairs]
            if names:
                family = [pairs[name, source, states] for name in names]
                tables["alternatives"] += alternative_rows(
                    at | {"source": source, "states": states}, names, family, settings
                )


def alternative_rows(
    at: dict, names: list[str], family: list[tuple[Content, Content]], settings: Settings
) -> list[dict]:
    """Rows of one family of comparisons, over whose alternatives p is adjusted."""
    confidence = settings.statistics.confidence
    differences = [original.corrected - alternative.corrected for original, alternative in family]
    p = np.stack([bootstrap.p_value(difference) for difference in differences], axis=-1)
    adjusted = bootstrap.holm(p)
    rows = []
    for index, (name, (original, alternative)) in enumerate(zip(names, family, strict=True)):
        low, high = bootstrap.interval(differences[index], confidence)
        raw = original.accuracy - alternative.accuracy
        compared = np.isfinite(original.corrected[0, :-1]).all(axis=1).sum()
        raw_low, raw_high = bootstrap.interval(raw, confidence)
        for d, depth in enumerate(settings.depths):
            for f, feature in enumerate((*settings.features, MEAN)):
                rows.append(
                    at
                    | {
                        "depth": depth,
                        "feature": feature,
                        "alternative": name,
                        "difficulty_matched": name == settings.interventions.difficulty_matched,
                        "raw_original": original.accuracy[0, f, d],
                        "raw_alternative": alternative.accuracy[0, f, d],
                        "raw_difference": raw[0, f, d],
                        "raw_ci_low": raw_low[f, d],
                        "raw_ci_high": raw_high[f, d],
                        "majority_original": original.majority[0, f],
                        "majority_alternative": alternative.majority[0, f],
                        "original": original.corrected[0, f, d],
                        "alternative_content": alternative.corrected[0, f, d],
                        "difference": differences[index][0, f, d],
                        "ci_low": low[f, d],
                        "ci_high": high[f, d],
                        "p": p[f, d, index],
                        "p_holm": adjusted[f, d, index],
                        "n_features": compared if feature == MEAN else 1,
                        "n_states": original.states[f],
                        "n_programs": original.programs[f],
                    }
                )
    return rows

"""The study in numbers: `summary.json`."""

from __future__ import annotations

from progsem.measures.columns import TABLES
from progsem.measures.results import MEAN, ORIGINAL, Settings
from progsem.measures.training import PHASE_RULE, find_phases
from progsem.measures.writing import plain


def summary(results: dict, settings: Settings, seconds: dict[str, float]) -> dict:
    """The study in numbers, of the last checkpoint unless a row says its step."""
    last, seed, depths = settings.lm.checkpoints()[-1], settings.headline_seed, settings.depths
    source, states = settings.sources[0], settings.states[0]

    def rows(table: str, **where) -> list[dict]:
        return [row for row in results[table] if all(row[key] == value for key, value in where.items())]

    (final,) = rows("checkpoints", lm_seed=seed, step=last)
    contents = rows("probes", lm_seed=seed, step=last, semantics=ORIGINAL, feature=MEAN)
    headline = {row["depth"]: row for row in contents if (row["source"], row["states"]) == (source, states)}
    regressions = rows("regression", lm_seed=seed, source=source, states=states)
    alternatives = rows("alternatives", lm_seed=seed, step=last, feature=MEAN)
    deepest = {
        row["alternative"]: row
        for row in alternatives
        if (row["source"], row["states"], row["depth"]) == (source, states, depths[-1])
    }
    quoted = "original difference ci_low ci_high p p_holm raw_original raw_alternative raw_difference".split()
    quoted += [
        "raw_ci_low",
        "raw_ci_high",
        "majority_original",
        "majority_alternative",
        "n_features",
        "n_states",
        "n_programs",
    ]
    by_step = {
        (row["step"], row["depth"]): row
        for row in rows("probes", lm_seed=seed, semantics=ORIGINAL, feature=MEAN, source=source, states=states)
    }

    def over_training(of: int | str) -> dict:
        curve = rows("checkpoints", lm_seed=of)
        return find_phases(
            [row["step"] for row in curve],
            [row["entropy_bits"] for row in curve],
            [row["generative_accuracy"] for row in curve],
        )

    value = {
        "study": settings.study,
        "step": last,
        "generative_accuracy": final["generative_accuracy"],
        "generative_accuracy_ci": [final["generative_accuracy_low"], final["generative_accuracy_high"]],
        "strict_accuracy": final["strict_accuracy"],
        "unconstrained_accuracy": final["unconstrained_accuracy"],
        "semantic_content": {depth: headline.get(depth, {}).get("accuracy") for depth in depths},
        "semantic_content_corrected": {depth: headline.get(depth, {}).get("corrected") for depth in depths},
        "semantic_content_by": [
            {
                key: row[key]
                for key in TABLES["probes"]
                if key in row and key not in ("lm_seed", "step", "semantics", "feature", "n_train")
            }
            for row in contents
        ],
        "sources": {
            "headline": source,
            "states": states,
            "probed": list(settings.sources),
            "features": list(settings.features),
        },
        "r2": {
            row["depth"]: {
                "r2": row.get("r2"),
                "ci_low": row.get("r2_low"),
                "ci_high": row.get("r2_high"),
                "slope": row.get("slope"),
                "n_points": row["n_points"],
                "block_length": row["block_length"],
            }
            for row in regressions
            if row["points"] == "levels" and row["measure"] == "raw"
        },
        "r2_by": [
            {key: row.get(key) for key in TABLES["regression"] if key != "lm_seed"}
            for row in rows("regression", lm_seed=seed)
        ],
        "alternatives": {
            name: {
                "meaning": dict(sorted(settings.interventions.alternatives[name].items())),
                "difficulty_matched": name == settings.interventions.difficulty_matched,
                "alternative": deepest.get(name, {}).get("alternative_content"),
            }
            | {key: deepest.get(name, {}).get(key) for key in quoted}
            for name in settings.alternatives
        },
        "alternatives_depth": depths[-1],
        "alternatives_by": [
            {key: row[key] for key in TABLES["alternatives"] if key not in ("lm_seed", "step", "feature")}
            for row in alternatives
        ],
        "checkpoints": [
            {key: row[key] for key in TABLES["checkpoints"] if key != "lm_seed"}
            | {
                name: {depth: by_step.get((row["step"], depth), {}).get(column) for depth in depths}
                for name, column in (("semantic_content", "accuracy"), ("semantic_content_corrected", "corrected"))
            }
            for row in rows("checkpoints", lm_seed=seed)
        ],
        "mean_length": {
            "generated_correct": final["mean_length_generated_correct"],
            "training": final["mean_length_training"],
            "generated": final["mean_length_generated"],
            "reference": final["mean_length_reference"],
            "reference_of_correct": final["mean_length_reference_of_correct"],
        },
        "phases": over_training(seed)
        | {"rule": PHASE_RULE}
        | {"by_seed": {str(one): over_training(one) for one in settings.lm.seeds}},
        "n": {
            "test_programs": settings.test,
            "lm_seeds": len(settings.lm.seeds),
            "probe_seeds": settings.probes.seeds,
            "checkpoints": len(settings.lm.checkpoints()),
            "checkpoints_probed": len({step for step, _ in by_step}),
            "training_programs": int(results["training_lengths"].sum()),
            "states": headline[depths[0]]["n_states"] if headline else 0,
        },
        "intervals": {
            "confidence": settings.statistics.confidence,
            "resamples": settings.statistics.resamples,
            "resampled": [
                "test programs",
                *(["probe seeds"] if settings.probes.seeds > 1 else []),
                *(["LM seeds"] if settings.pooled else []),
            ],
            "kind": "percentile bootstrap; over checkpoints: moving blocks of checkpoints",
        },
        "wall_seconds": seconds,
    }
    return plain(value)

"""The study in numbers: `summary.json`.

Every number that is estimated from a sample has its interval and its n beside it: `x` has `x_ci` (a list of two)
or `x_low` and `x_high`, a mapping of numbers has `_ci` and `_n` beside it, and `n`, `n_…` say of how many. What is
exact has none (`EXACT`).
"""

from __future__ import annotations

from progsem.measures.analysis import Analysis
from progsem.measures.intervals import WINDOW
from progsem.measures.permutations import mirror_pairs
from progsem.measures.phases import PHASE_RULE, phases
from progsem.measures.results import Settings
from progsem.measures.tables import TABLES
from progsem.measures.writing import plain
from progsem.study.vocabulary import MEAN, ORIGINAL

SHARES = ("generative_accuracy", "strict_accuracy", "unconstrained_accuracy")
LENGTHS = {  # of mean_length: column of the table `checkpoints`, and that of its n
    "generated_correct": ("mean_length_generated_correct", "n_correct"),
    "training": ("mean_length_training", "n_training"),
    "generated": ("mean_length_generated", "n_test"),
    "reference": ("mean_length_reference", "n_test"),
    "reference_of_correct": ("mean_length_reference_of_correct", "n_correct"),
}


def summary(analysis: Analysis) -> dict:
    """The study in numbers, of the last checkpoint unless a row says its step."""
    settings, rows = analysis.settings, analysis.rows
    last, seed, depths = settings.lm.every_step()[-1], settings.headline_seed, settings.depths
    source, states = settings.sources[0], settings.states[0]

    (final,) = rows("checkpoints", lm_seed=seed, step=last)
    contents = rows("probes", lm_seed=seed, step=last, semantics=ORIGINAL, feature=MEAN)
    headline = {row["depth"]: row for row in contents if (row["source"], row["states"]) == (source, states)}
    regressions = rows("regression", lm_seed=seed, source=source, states=states, points="levels", measure="raw")
    alternatives = rows("alternatives", lm_seed=seed, step=last, feature=MEAN, family="named")
    deepest = {
        row["alternative"]: row
        for row in alternatives
        if (row["source"], row["states"], row["offset"], row["depth"]) == (source, states, 0, depths[-1])
    }
    by_step = {
        (row["step"], row["depth"]): row
        for row in rows("probes", lm_seed=seed, semantics=ORIGINAL, feature=MEAN, source=source, states=states)
    }
    value = {"study": settings.study, "step": last}
    for name in SHARES:
        value |= {name: final[name], f"{name}_ci": ends(final, name)}
    value |= by_depth(headline, depths)
    value |= {
        "semantic_content_by": [
            {key: row.get(key) for key in without("probes", "lm_seed", "step", "semantics", "feature", "n_train")}
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
                **{key: row.get(key) for key in ("slope", "slope_low", "slope_high", "n_points")},
            }
            for row in regressions
        },
        "r2_by": [
            {key: row.get(key) for key in without("regression", "lm_seed")} for row in rows("regression", lm_seed=seed)
        ],
        "alternatives": {
            name: alternative_summary(name, deepest.get(name, {}), settings) for name in settings.alternatives
        },
        "alternatives_depth": depths[-1],
        "alternatives_by": [
            {key: row[key] for key in without("alternatives", "lm_seed", "step", "feature")} for row in alternatives
        ],
        "edits": [
            {key: row[key] for key in without("edits", "lm_seed", "step", "control")}
            for row in rows("edits", lm_seed=seed, step=last, control="none")
        ],
        "mirror_pairs": mirror_pairs(rows("permutations"), settings),
        "checkpoints": [
            {key: row[key] for key in without("checkpoints", "lm_seed")}
            | by_depth({depth: by_step.get((row["step"], depth), {}) for depth in depths}, depths)
            for row in rows("checkpoints", lm_seed=seed)
        ],
        "mean_length": {name: final[column] for name, (column, _) in LENGTHS.items()},
        "mean_length_ci": {name: ends(final, column) for name, (column, _) in LENGTHS.items()},
        "mean_length_n": {name: final[n] for name, (_, n) in LENGTHS.items()},
        "length_tests": {
            row["comparison"]: {key: row[key] for key in without("length_tests", "lm_seed", "step", "comparison")}
            for row in rows("length_tests", lm_seed=seed, step=last)
        },
        "phases": phases(analysis, seed)
        | {"rule": PHASE_RULE}
        | {"by_seed": {str(one): phases(analysis, one) for one in settings.lm.seeds}},
        "n": {
            "test_programs": settings.test,
            "lm_seeds": len(settings.lm.seeds),
            "probe_seeds": settings.probes.seeds,
            "checkpoints": len(settings.lm.every_step()),
            "checkpoints_probed": len({step for step, _ in by_step}),
            "training_programs": int(analysis.training_lengths.sum()),
            "states": headline[depths[0]]["n_states"] if headline else 0,
        },
        "intervals": intervals(settings),
    }
    return plain(value)


def without(table: str, *names: str) -> list[str]:
    """The columns of a table but these."""
    return [column for column in TABLES[table].columns if column not in names]


def ends(row: dict, name: str) -> list[float] | None:
    """Both ends of an interval; None for a number that is exact."""
    return [row[f"{name}_low"], row[f"{name}_high"]] if f"{name}_low" in row else None


def by_depth(rows: dict[str, dict], depths: tuple[str, ...]) -> dict:
    """Semantic content by depth, raw and corrected, with intervals and numbers of states; None where none is probed."""
    value = {}
    for name, column in (("semantic_content", "accuracy"), ("semantic_content_corrected", "corrected")):
        rows_of_depths = {depth: rows.get(depth) for depth in depths}
        value |= {
            name: {depth: row[column] if row else None for depth, row in rows_of_depths.items()},
            f"{name}_ci": {depth: ends(row, column) if row else None for depth, row in rows_of_depths.items()},
            f"{name}_n": {depth: row["n_states"] if row else 0 for depth, row in rows_of_depths.items()},
        }
    return value


def alternative_summary(name: str, row: dict, settings: Settings) -> dict:
    """One alternative at the deepest probe; None where it was not probed."""
    quoted = without(
        "alternatives", *"lm_seed step source offset states depth feature family alternative difficulty_matched".split()
    )
    columns = {key: row.get(key) for key in quoted}
    # On the corrected scale the two sides are called original and alternative.
    columns = {key.replace("alternative_content", "alternative"): value for key, value in columns.items()}
    return {
        "meaning": dict(sorted(settings.interventions.alternatives[name].items())),
        "difficulty_matched": name == settings.interventions.difficulty_matched,
    } | columns


def intervals(settings: Settings) -> dict:
    """What the intervals are."""
    fits = settings.probes.seeds > 1
    return {
        "confidence": settings.statistics.confidence,
        "resamples": settings.statistics.resamples,
        # Over which units: the programs are drawn again, the others enter by their sample variance.
        "resampled": [
            "test programs",
            *(["probe seeds"] if fits else []),
            *(["LM seeds"] if settings.pooled else []),
        ],
        "kind": "bootstrap over test programs, with the sample variance over "
        + ("LM seeds (their probes nested in them)" if settings.pooled else "probe seeds")
        + " and Student's t with Satterthwaite's degrees of freedom",
        "probe_seeds": (
            f"of one language model: variance over probe seeds, averaged over up to {WINDOW} neighbouring checkpoints"
            if fits
            else "one probe of each kind: nothing is said of how fits differ"
        ),
        "r2": "Student's t, for as many independent points as autocorrelated checkpoints are worth"
        if not settings.pooled
        else "Student's t from the dispersion over LM seeds",
        "shares": "of test specifications, one language model: Wilson's",
    }

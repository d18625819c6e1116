"""Mirror pairs: is the true meaning ahead of its mirror image by more than any other is of its own?

Exchanging the meanings left and right in a permutation gives its mirror image, whose
labels are equally hard (`LANGUAGE.permutations`). Both of a drawn pair are other meanings
than the one in the text, so that their difference shows by how much two such contents
differ for other reasons. The table `permutations` has the corrected content of both and
their difference at the last checkpoint, mean over the features that are defined for both;
pair 0 is the original and the difficulty-matched alternative, where that is the mirror
image, with the numbers of the table `alternatives`.

Two fits a semantics say little of how fits vary, and there is one checkpoint. Pairs
therefore borrow that variance from pairs beside them in the order in which they were
drawn, whose probes are of the same kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from progsem.measures import bootstrap
from progsem.measures.bootstrap import Estimate
from progsem.measures.content import comparable, contents_of, in_all, state_sets
from progsem.measures.draws import Draws
from progsem.measures.labels import Common, entropies
from progsem.measures.results import (
    MEAN,
    ORIGINAL,
    POOLED,
    Checkpoint,
    Settings,
    read_outcomes,
    read_programs,
)

SIDES = ("first", "second")


@dataclass(frozen=True)
class Pair:
    """Both semantics of a mirror pair on one set of states.

    corrected: mean corrected content of each, (1 + R, U, D). entropy: bits of the labels of
    each, mean over features; share_differing: of the states whose label differs, likewise.
    states, programs: of the first; features: that the mean of `corrected` is over.
    """

    corrected: tuple[np.ndarray, np.ndarray]
    entropy: tuple[float, float]
    share_differing: float
    states: int
    programs: int
    features: int


def measure_pairs(
    checkpoints: list[Checkpoint], settings: Settings, draws: Draws, workers: Executor
) -> Iterable[list[dict[tuple[str, str], Pair]]]:
    """`measure_pair` of each drawn pair, for every language model at its last checkpoint."""
    last = [one for one in checkpoints if one.step == settings.lm.checkpoints()[-1]]
    return workers.map(lambda both: [measure_pair(one, both, settings, draws) for one in last], settings.permutations)


def permutation_rows(
    measured: Iterable[list[dict[tuple[str, str], Pair]]], settings: Settings, results: dict
) -> list[dict]:
    """Rows of the table; `results` has the rows of the table `alternatives`."""
    step = settings.lm.checkpoints()[-1]
    names = (*settings.lm.seeds, POOLED) if settings.pooled else settings.lm.seeds
    pairs = {name: {} for name in names}
    for number, each in enumerate(measured, start=1):
        for seed, found in zip(settings.lm.seeds, each, strict=True):
            pairs[seed][number] = found
        if settings.pooled:
            pairs[POOLED][number] = {key: _pooled([one[key] for one in each]) for key in in_all(each)}
    rows = []
    for name in names:
        if settings.mirrored:
            rows += [row for row in own_rows(results["alternatives"], settings) if row["lm_seed"] == name]
        estimates = {
            number: {key: pair_estimates(pair, settings) for key, pair in found.items()}
            for number, found in pairs[name].items()
        }
        if name != POOLED:
            estimates = _borrowed(estimates)
        at = {"lm_seed": name, "step": step}
        for number, found in pairs[name].items():
            first, second = settings.permutations[number - 1]
            where = at | {"pair": number, "first": first, "second": second}
            for key, pair in found.items():
                rows += [where | row for row in _rows(key, pair, estimates[number][key], settings)]
    return rows


def own_rows(alternatives: list[dict], settings: Settings) -> list[dict]:
    """The original and its mirror image as pair 0, from rows of the table `alternatives`."""
    same = "source states depth difference ci_low ci_high p share_differing n_features n_states n_programs".split()
    rows = []
    for row in alternatives:
        here = row["step"], row["offset"], row["feature"], row["alternative"]
        matched = settings.lm.checkpoints()[-1], 0, MEAN, settings.interventions.difficulty_matched
        if here != matched or row["states"] not in settings.states:
            continue
        mine = {"lm_seed": row["lm_seed"], "step": row["step"], "pair": 0}
        mine |= {"first": ORIGINAL, "second": row["alternative"]} | {name: row[name] for name in same}
        for side, content, entropy in zip(
            SIDES, ("original", "alternative_content"), (ORIGINAL, "alternative"), strict=True
        ):
            mine |= {f"corrected_{side}{end}": row[f"{content}{end}"] for end in ("", "_low", "_high")}
            mine[f"entropy_{side}"] = row[f"entropy_{entropy}"]
        rows.append(mine)
    return rows


def measure_pair(
    checkpoint: Checkpoint, names: tuple[str, str], settings: Settings, draws: Draws
) -> dict[tuple[str, str], Pair]:
    """Both semantics of a pair by (source, states); sets that one of them lacks are left out."""
    rows = read_programs(checkpoint.programs, settings.test)["row_in_file"]
    outcomes = [read_outcomes(checkpoint.predictions[name], settings, rows) for name in names]
    sets = [state_sets(outcome, (0,), settings) for outcome in outcomes]
    common = Common.of(*outcomes, settings)
    groups = {(side, *key): states for side, one in enumerate(sets) for key, states in one.items()}
    contents = contents_of(groups, settings, draws)
    pairs = {}
    for key in sets[0]:
        if (0, *key) not in contents or (1, *key) not in contents:
            continue
        first, second = comparable(contents[0, *key](), contents[1, *key]())
        chosen = [one[key] for one in sets]
        source, _, states = key
        pairs[source, states] = Pair(
            corrected=(first.corrected[:, :, -1], second.corrected[:, :, -1]),
            entropy=tuple(entropies(one, settings)[-1] for one in chosen),
            share_differing=common.share_differing(chosen[0])[-1],
            states=int(first.states[-1]),
            programs=int(first.programs[-1]),
            features=int(np.isfinite(first.corrected[0, :, :-1]).all(axis=(0, 2)).sum()),
        )
    return pairs


def _pooled(each: list[Pair]) -> Pair:
    """A pair with the language models as units, each the mean of its probes; counts are summed."""
    return Pair(
        corrected=tuple(
            np.stack([one.corrected[side].mean(axis=1) for one in each], axis=1) for side in range(len(SIDES))
        ),
        entropy=tuple(float(np.mean([one.entropy[side] for one in each])) for side in range(len(SIDES))),
        share_differing=float(np.mean([one.share_differing for one in each])),
        states=sum(one.states for one in each),
        programs=sum(one.programs for one in each),
        features=min(one.features for one in each),
    )


def pair_estimates(pair: Pair, settings: Settings) -> dict[str, Estimate]:
    """Estimates (D,) of both contents and of their difference."""
    first, second = pair.corrected
    values = {
        "corrected_first": (first, bootstrap.CORRECTED),
        "corrected_second": (second, bootstrap.CORRECTED),
        "difference": (first - second, bootstrap.ANY),
    }
    return {
        name: bootstrap.estimate(value, settings.statistics.confidence, pair.programs, within)
        for name, (value, within) in values.items()
    }


def _borrowed(estimates: dict[int, dict[tuple, dict[str, Estimate]]]) -> dict[int, dict[tuple, dict[str, Estimate]]]:
    """The variance of fits from neighbouring pairs."""
    flat = bootstrap.borrow(
        {
            number: {(key, name): one for key, columns in found.items() for name, one in columns.items()}
            for number, found in estimates.items()
        }
    )
    return {
        number: {key: {name: flat[number][key, name] for name in columns} for key, columns in found.items()}
        for number, found in estimates.items()
    }


def _rows(key: tuple[str, str], pair: Pair, estimates: dict[str, Estimate], settings: Settings) -> list[dict]:
    """A row for each depth."""
    p = estimates["difference"].p_value()
    rows = []
    for d, depth in enumerate(settings.depths):
        row = {"source": key[0], "states": key[1], "depth": depth, "p": p[d]}
        for name, one in estimates.items():
            ends = ("ci_low", "ci_high") if name == "difference" else (f"{name}_low", f"{name}_high")
            values = (one.value, *one.interval())
            row |= {column: value[d] for column, value in zip((name, *ends), values, strict=True)}
        row |= {f"entropy_{side}": value for side, value in zip(SIDES, pair.entropy, strict=True)}
        row |= {"share_differing": pair.share_differing, "n_features": pair.features}
        rows.append(row | {"n_states": pair.states, "n_programs": pair.programs})
    return rows


def rank_of_original(rows: list[dict]) -> dict | None:
    """Where the original stands among mirror pairs, from rows of one LM seed, source, state set and depth.

    Which of a drawn pair is the first means nothing, so the size of its difference is what counts; the
    original's has a sign, as it should be ahead. `rank` is 1 if it is ahead by more than any other pair
    differs; `p` is (1 + number of other pairs that differ by at least as much) / (1 + number of other
    pairs), the p-value of a permutation test (Phipson & Smyth 2010), which cannot be below 1 / (1 + pairs).
    None where the original's difference is undefined or there are no other pairs.
    """
    rows = [row for row in rows if np.isfinite(row["difference"])]
    own = [row for row in rows if row["first"] == ORIGINAL]
    others = [abs(row["difference"]) for row in rows if row["first"] != ORIGINAL]
    if not own or not others:
        return None
    at_least = sum(other >= own[0]["difference"] for other in others)
    return {name: own[0][name] for name in ("difference", "ci_low", "ci_high", "n_states", "n_programs")} | {
        "rank": 1 + at_least,
        "other_pairs": len(others),
        "p": (1 + at_least) / (1 + len(others)),
    }


def mirror_pairs(rows: list[dict], settings: Settings) -> list[dict]:
    """`rank_of_original` of the summary's LM seed for every source, state set and depth that has one."""
    found = []
    for source in settings.sources:
        for states in settings.states:
            for depth in settings.depths:
                where = {"lm_seed": settings.headline_seed, "source": source, "states": states, "depth": depth}
                here = [row for row in rows if all(row[key] == value for key, value in where.items())]
                ranked = rank_of_original(here)
                if ranked:
                    found.append({"source": source, "states": states, "depth": depth} | ranked)
    return found

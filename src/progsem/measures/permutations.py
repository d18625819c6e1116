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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from progsem.measures import intervals
from progsem.measures.analysis import Analysis
from progsem.measures.content import StateSet, comparable, contents_of, in_all, state_sets
from progsem.measures.intervals import Estimate
from progsem.measures.labels import Common, entropies
from progsem.measures.resampling import Resamples
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
class MirrorPair:
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

    def estimates(self, settings: Settings) -> dict[str, Estimate]:
        """Estimates (D,) of both contents and of their difference."""
        first, second = self.corrected
        values = {
            "corrected_first": (first, intervals.CORRECTED),
            "corrected_second": (second, intervals.CORRECTED),
            "difference": (first - second, intervals.ANY),
        }
        return {
            name: intervals.estimate(value, settings.statistics.confidence, self.programs, within)
            for name, (value, within) in values.items()
        }


def permutation_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table: of each language model at its last checkpoint, the original's pair, then the drawn ones."""
    settings, draws = analysis.settings, analysis.draws
    step = settings.lm.checkpoints()[-1]
    last = [one for one in analysis.checkpoints if one.step == step]

    def measured(pair: tuple[str, str]) -> dict[int | str, dict[StateSet, MirrorPair]]:
        found = {one.seed: measure_pair(one, pair, settings, draws) for one in last}
        return found | ({POOLED: pool_pairs(list(found.values()))} if settings.pooled else {})

    pairs = list(analysis.workers.map(measured, settings.permutations))
    own = own_rows(analysis.rows("alternatives"), settings) if settings.mirrored else []
    rows = []
    for name in analysis.names:
        rows += [row for row in own if row["lm_seed"] == name]
        estimates = {
            number: {key: pair.estimates(settings) for key, pair in found[name].items()}
            for number, found in enumerate(pairs, start=1)
        }
        if name != POOLED:
            estimates = intervals.borrow(estimates)  # from the pairs before and after
        for number, found in enumerate(pairs, start=1):
            first, second = settings.permutations[number - 1]
            where = {"lm_seed": name, "step": step, "pair": number, "first": first, "second": second}
            for key, pair in found[name].items():
                where |= {"source": key.source, "states": key.states}
                rows += [where | row for row in _rows(pair, estimates[number][key], settings)]
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
    checkpoint: Checkpoint, names: tuple[str, str], settings: Settings, draws: Resamples
) -> dict[StateSet, MirrorPair]:
    """Both semantics of a pair at offset 0; sets of states that one of them lacks are left out."""
    rows = read_programs(checkpoint.programs, settings.test)["row_in_file"]
    outcomes = [read_outcomes(checkpoint.predictions[name], settings, rows) for name in names]
    sets = [state_sets(outcome, (0,), settings) for outcome in outcomes]
    contents = [contents_of(*both, settings, draws) for both in zip(outcomes, sets, strict=True)]
    common = Common.of(*outcomes, settings)
    pairs = {}
    for key in in_all(contents):
        first, second = comparable(*(one[key] for one in contents))
        pairs[key] = MirrorPair(
            corrected=(first.corrected[:, :, -1], second.corrected[:, :, -1]),
            entropy=tuple(
                entropies(outcome, chosen[key], settings)[-1] for outcome, chosen in zip(outcomes, sets, strict=True)
            ),
            share_differing=common.share_differing(sets[0][key])[-1],
            states=int(first.states[-1]),
            programs=int(first.programs[-1]),
            features=int(first.defined.sum()),
        )
    return pairs


def pool_pairs(each: Sequence[dict[StateSet, MirrorPair]]) -> dict[StateSet, MirrorPair]:
    """The same pair with the language models as units, each the mean of its probes; counts are summed."""
    return {key: _pooled([one[key] for one in each]) for key in in_all(each)}


def _pooled(each: list[MirrorPair]) -> MirrorPair:
    return MirrorPair(
        corrected=tuple(
            np.stack([corrected.mean(axis=1) for corrected in side], axis=1)
            for side in zip(*(one.corrected for one in each), strict=True)
        ),
        entropy=tuple(np.mean([one.entropy for one in each], axis=0)),
        share_differing=float(np.mean([one.share_differing for one in each])),
        states=sum(one.states for one in each),
        programs=sum(one.programs for one in each),
        features=min(one.features for one in each),
    )


def _rows(pair: MirrorPair, estimates: dict[str, Estimate], settings: Settings) -> list[dict]:
    """A row for each depth."""
    columns = {"p": estimates["difference"].p_value()}
    for name, one in estimates.items():
        ends = ("ci_low", "ci_high") if name == "difference" else (f"{name}_low", f"{name}_high")
        columns |= dict(zip((name, *ends), (one.value, *one.interval()), strict=True))
    same = {f"entropy_{side}": value for side, value in zip(SIDES, pair.entropy, strict=True)}
    same |= {"share_differing": pair.share_differing, "n_features": pair.features}
    same |= {"n_states": pair.states, "n_programs": pair.programs}
    return [
        {"depth": depth} | {name: values[d] for name, values in columns.items()} | same
        for d, depth in enumerate(settings.depths)
    ]


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

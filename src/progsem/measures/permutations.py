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

import numpy as np

from progsem.measures.alternatives import columns_of
from progsem.measures.analysis import Analysis
from progsem.measures.content import Compared, StateSet, compare, contents_of, in_all, pool_compared, state_sets
from progsem.measures.content_estimates import Estimated, borrowed
from progsem.measures.labels import Common
from progsem.measures.resampling import Resamples
from progsem.measures.results import POOLED, Checkpoint, Settings, read_outcomes, read_programs
from progsem.study.vocabulary import MEAN, ORIGINAL

# Columns that have other names than in the table `alternatives`, where the first of a pair is the original.
COLUMNS = {
    f"corrected_{side}{end}": f"{content}{end}"
    for side, content in (("first", "original"), ("second", "alternative_content"))
    for end in ("", "_low", "_high")
}
COLUMNS |= {"entropy_first": "entropy_original", "entropy_second": "entropy_alternative"}


def permutation_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table: of each language model at its last checkpoint, the original's pair, then the drawn ones."""
    settings, draws = analysis.settings, analysis.draws
    last = [one for one in analysis.checkpoints if one.step == settings.lm.every_step()[-1]]

    def measured(pair: tuple[str, str]) -> dict[int | str, Estimated]:
        each = [compare_pair(one, pair, settings, draws) for one in last]
        if settings.pooled:
            each.append({key: pool_compared([one[key] for one in each]) for key in in_all(each)})
        found = {name: Estimated() for name in analysis.names}
        for name, compared in zip(found, each, strict=True):
            for key, two in compared.items():
                found[name].add_compared(key, two, settings)
        return found

    pairs = dict(enumerate(analysis.workers.map(measured, settings.permutations), start=1))
    rows = []
    for name in analysis.names:
        if settings.mirrored:
            rows += [_renamed(row) for row in own_rows(analysis, name)]
        by_number = {number: found[name] for number, found in pairs.items()}
        if name != POOLED:
            by_number = borrowed(by_number)  # from the pairs before and after
        for number, estimated in by_number.items():
            first, second = settings.permutations[number - 1]
            where = {"lm_seed": name, "step": last[0].step, "pair": number, "first": first, "second": second}
            for key in estimated.counts:
                columns = columns_of(estimated, [key], settings)
                rows += [_renamed(where | key._asdict() | row) for row in columns if row["feature"] == MEAN]
    return rows


def own_rows(analysis: Analysis, name: int | str) -> list[dict]:
    """The original and its mirror image as pair 0, from rows of the table `alternatives`."""
    settings = analysis.settings
    matched = settings.interventions.difficulty_matched
    where = {"lm_seed": name, "step": settings.lm.every_step()[-1], "offset": 0}
    rows = analysis.rows("alternatives", **where, feature=MEAN, alternative=matched)
    pair = {"pair": 0, "first": ORIGINAL, "second": matched}
    return [row | pair for row in rows if row["states"] in settings.states]


def _renamed(row: dict) -> dict:
    return row | {name: row[column] for name, column in COLUMNS.items()}


def compare_pair(
    checkpoint: Checkpoint, names: tuple[str, str], settings: Settings, draws: Resamples
) -> dict[StateSet, Compared]:
    """Both semantics of a pair at offset 0; sets of states that one of them lacks are left out."""
    rows = read_programs(checkpoint.programs, settings.test)["row_in_file"]
    outcomes = tuple(read_outcomes(checkpoint.predictions[name], settings, rows) for name in names)
    sets = tuple(state_sets(outcome, (0,), settings) for outcome in outcomes)
    contents = tuple(contents_of(*both, settings, draws) for both in zip(outcomes, sets, strict=True))
    return compare(outcomes, sets, contents, Common.of(*outcomes, settings), settings)


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

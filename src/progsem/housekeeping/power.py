"""`progsem power`: how many language models a study's claims need, judged by a study of several that has run.

A claim is about trainings, so its interval is Student's over language models, each of which gives one number. How
far these lie apart is only in part how models differ: each number is of some test programs and some probe fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import nctdtr, ndtri, stdtrit

from progsem.errors import UserError
from progsem.housekeeping import common
from progsem.plots import findings
from progsem.plots.figures import read_rows
from progsem.plots.paper.claims import R2
from progsem.plots.style import Results
from progsem.stages import STAGES
from progsem.storage import manifest
from progsem.storage.files import read_json
from progsem.study.plan import Plan

FEWEST = 3  # language models that say anything of how far models lie apart
COUNTS = np.arange(2, 101)  # of language models, from which the fewest are chosen
POWER = 0.8
_TABLES = ("checkpoints", "baselines", "regression", "offsets", "alternatives", "length_tests")
_TITLES = ("claim", "unit", "mean", "sd", "within", "between", "±", "models", f"for {POWER:.0%}")
# Unit -> factor and format.
_UNITS = {"points": (100, ".2f"), "statements": (1, ".3f"), "per token": (1, ".3f"), "": (1, ".3f")}


@dataclass(frozen=True)
class Claim:
    """That the mean over language models is not 0.

    values: (M,), a number of each. errors: (M,), their standard errors over test programs and, where a probe was
    fitted several times, over fits; NaN where a model's own interval is over something else.
    """

    what: str
    unit: str
    values: np.ndarray
    errors: np.ndarray

    def less(self, other: Claim) -> Claim:
        """The difference to another number of the same models, its error as if they were of other programs."""
        return replace(self, values=self.values - other.values, errors=np.hypot(self.errors, other.errors))

    def spread(self) -> tuple[float, float, float, float]:
        """Mean and standard deviation over models; of the latter the part within a model, and what is left, if any."""
        mean, sd, within = self.values.mean(), self.values.std(ddof=1), np.sqrt(np.mean(self.errors**2))
        return float(mean), float(sd), float(within), float(np.sqrt(np.maximum(sd**2 - within**2, 0)))


def half_width(sd: float, n: int | np.ndarray, confidence: float) -> float | np.ndarray:
    """Of Student's interval of the mean of n numbers with this standard deviation."""
    return stdtrit(n - 1, (1 + confidence) / 2) * sd / np.sqrt(n)


def needed(mean: float, sd: float, confidence: float = 0.95) -> int | None:
    """Fewest language models whose interval leaves 0 out, if they have this mean and sd; None if not in `COUNTS`."""
    return _fewest(half_width(sd, COUNTS, confidence) < abs(mean))


def needed_for_power(mean: float, sd: float, confidence: float = 0.95) -> int | None:
    """Fewest with which `POWER` of all studies would leave 0 out, if mean and sd are the true ones (noncentral t)."""
    shift = np.minimum(abs(mean) / max(sd, 1e-9) * np.sqrt(COUNTS), 30)  # beyond, it makes no difference
    return _fewest(1 - nctdtr(COUNTS - 1, shift, stdtrit(COUNTS - 1, (1 + confidence) / 2)) > POWER)


def _fewest(enough: np.ndarray) -> int | None:
    return int(COUNTS[enough][0]) if enough.any() else None


def claims(results: Results) -> list[Claim]:
    """Claims of `progsem.plots.paper.claims` that are a number of each language model, as far as all have it."""
    return [claim for claim in _claims(results) if np.isfinite(claim.values).all()]


def _claims(results: Results) -> Iterator[Claim]:
    last, first = results.summary["step"], min(row["step"] for row in results.tables["checkpoints"])
    matched = findings.matched(results)
    z = ndtri((1 + results.summary["intervals"]["confidence"]) / 2)

    def number(what: str, unit: str, table: str, key: str, ends: str = "", **where) -> Claim:
        """What the models' rows of a table have; `ends`: how the columns of its interval begin, `key` as a rule."""
        rows = {row["lm_seed"]: row for row in results.rows(table, **where)}
        names = (key, f"{ends or key}_low", f"{ends or key}_high")
        read = np.array([[rows.get(seed, {}).get(name) for name in names] for seed in results.seeds], dtype=float)
        return Claim(what, unit, read[:, 0], (read[:, 2] - read[:, 1]) / 2 / z)

    what = "generative accuracy, last less first checkpoint"
    rise = [number(what, "points", "checkpoints", "generative_accuracy", step=step) for step in (last, first)]
    yield rise[0].less(rise[1])
    probes = [
        (f"{source}, {depth}", {"source": source, "depth": depth, "states": results.states})
        for source, depth in product(results.sources, results.depths)
    ]
    for by, at in probes:
        where = at | {"baseline": "untrained", "feature": "mean", "step": last}
        yield number(f"content above the untrained model, {by}", "points", "baselines", "difference", **where)
    for (by, at), (key, paper, name) in product(probes, (("slope", 0, "slope"), ("r2", R2, f"R² less {R2}"))):
        line = number(
            f"content over accuracy, {name}, {by}", "", "regression", key, points="levels", measure="raw", **at
        )
        # A model's own interval is over checkpoints, and is no part of the dispersion.
        yield replace(line, values=line.values - paper, errors=np.full_like(line.errors, np.nan))
    ahead = sorted({row["offset"] for row in results.tables["offsets"]} - {0})
    for (by, at), offset in product(probes[len(results.depths) - 1 :: len(results.depths)], ahead):
        what, where = f"content at offset {offset:+d} above the", at | {"offset": offset, "feature": "mean"}
        ends = [
            number(f"{what} majority, {by}", "points", "offsets", "corrected", step=step, **where)
            for step in (last, first)
        ]
        yield ends[0]
        yield replace(ends[0].less(ends[1]), what=f"{what} untrained model, {by}")
    for states, (by, at) in product(("all", "non_final"), probes):
        where = at | {"states": states, "family": "named", "alternative": matched, "offset": 0, "feature": "mean"}
        what = f"original less mirror image, {by}, {states}"
        yield number(what, "points", "alternatives", "difference", "ci", step=last, **where)
    where = {"step": last, "comparison": "correct_vs_training"}
    yield number("right programs less training's", "statements", "length_tests", "difference", **where)
    what, kinds = "perplexity, the corpus's programs less its own", ("perplexity_reference", "perplexity_generated")
    corpus, own = (number(what, "per token", "checkpoints", kind, step=last) for kind in kinds)
    yield corpus.less(own)


def core_minutes(plan: Plan) -> dict[str, tuple[float, float]]:
    """By stage: a language model's, 0 where that does not depend on their number, and all. Seconds times threads."""
    spent: dict[str, float] = {}
    for unit in plan.own_units():
        if made := unit.manifest():
            spent[unit.stage] = spent.get(unit.stage, 0.0) + made["seconds"] * made["threads"] / 60
    models = len(plan.study.lm.seeds)
    by_stage = {stage: (minutes / models * STAGES[stage].checkpoints, minutes) for stage, minutes in spent.items()}
    return by_stage | {"total": tuple(map(sum, zip(*by_stage.values(), strict=True)))}


def read(given: common.Given) -> Results:
    """What the statistics of a study say; raises `UserError` where they are not there or of too few models."""
    models, folder = len(given.plan.study.lm.seeds), Path(given.plan.statistics.folder)
    if models < FEWEST:
        said = common.times(models, "language model")
        raise UserError(f"{given.name}: lm.seeds give {said}, expected at least {FEWEST}; add seeds, and run it")
    if not (folder / manifest.NAME).exists():
        target = "".join(f" STUDY={path}" for path in given.configfiles)
        raise UserError(f"{given.name}: there is no {folder}; `make figures{target}` makes it")
    tables = {name: read_rows(folder / f"{name}.csv") for name in _TABLES}
    return Results(read_json(folder / "summary.json"), {}, tables, given.name, {})


def row(claim: Claim, confidence: float) -> tuple[str, ...]:
    """A line of the table."""
    factor, form = _UNITS[claim.unit]
    mean, sd, within, between = claim.spread()
    numbers = (mean, sd, within, between, half_width(sd, len(claim.values), confidence))
    counts = (count(mean, sd, confidence) for count in (needed, needed_for_power))
    return (
        *(claim.what, claim.unit),
        *("–" if np.isnan(number) else format(factor * number, form) for number in numbers),
        *(f"more than {COUNTS[-1]}" if count is None else str(count) for count in counts),
    )


def main(argv: list[str]) -> None:
    """Print the tables; raises `UserError` for a study without results, or with too few language models."""
    parser = common.parser(
        "power",
        "Say how many language models it takes to decide each claim of the paper, judged by a study of several that "
        "has run: mean and standard deviation over its models, how much of that is sampling within a model and how "
        "much is between models, half of the interval with as many models as there are, how many would leave 0 out "
        f"of it, and how many would in {POWER:.0%} of all studies. Below: what a model costs. docs/power.md says more.",
    )
    parser.add_argument("study", type=common.study_file, help=common.A_STUDY)
    given = common.study(parser.parse_args(argv).study)
    results = read(given)
    found, models, confidence = claims(results), len(results.seeds), results.summary["intervals"]["confidence"]
    common.say(common.table([_TITLES, *(row(claim, confidence) for claim in found)], right=_TITLES[2:]))
    widths = [half_width(claim.spread()[1], models, confidence) for claim in found]
    decided = sum(abs(claim.spread()[0]) > width for claim, width in zip(found, widths, strict=True))
    common.say(f"\n{decided} of {len(found)} leave 0 out with {models} language models ({confidence:.0%} intervals)\n")
    titles = ("core-minutes", "a model", "all")
    spent = [(stage, *(f"{minutes:.1f}" for minutes in both)) for stage, both in core_minutes(given.plan).items()]
    common.say(common.table([titles, *spent], right=titles[1:]))

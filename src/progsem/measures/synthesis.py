"""How many specifications are solved with a budget of proposals, and how long solutions are.

Of n independent proposals of which c are right, a budget of k solves 1 - C(n - c, k) / C(n, k) of the time: the
unbiased estimator of pass@k (Chen et al. 2021, arXiv:2107.03374). Proposals that come in an order solve with every
budget from the first right one on. Test specifications are resampled, with the draws of all other tables; language
models are units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from progsem.languages import LANGUAGE
from progsem.measures import intervals
from progsem.measures.analysis import Analysis
from progsem.measures.resampling import Resamples
from progsem.measures.results import POOLED
from progsem.storage.files import read_json, read_table
from progsem.study.vocabulary import BEAM, PRETRAINED

JUDGED = {"solved": "shown", "solved_held_out": "held_out"}  # column of the table -> of proposals.arrow
NO_MODEL = "none"  # in the place of a language model's seed


def pass_at(n: int, right: np.ndarray, budget: int) -> np.ndarray:
    """Chance that at least one of `budget` of n proposals is right, of which `right` (N,) are: (N,)."""
    wrong = n - right
    # The product over j of (wrong - j) / (n - j), for j below the budget: 0 as soon as one factor is.
    factors = np.arange(budget)
    return 1 - np.prod(np.clip(wrong[:, None] - factors, 0, None) / (n - factors), axis=1)


class WriterKey(NamedTuple):
    """A writer as the tables name it; all widths of beam search are one."""

    writer: str
    value: float | None
    grammar: bool


@dataclass(frozen=True)
class Proposed:
    """What a writer has proposed to N test specifications, with budgets that it can be asked for.

    solved: by column of the table, (N, budgets). distinct (N,), different programs, as a share of all proposals. made,
    spent (N,): proposals, all and up to the first right one (of independent ones in expectation). first: (N,),
    statements of the first right program, NaN where there is none; whole (N,) share of proposals that are programs.
    shortest: (N,), statements of the shortest right one, NaN likewise.
    """

    budgets: list[int]
    solved: dict[str, np.ndarray]
    distinct: np.ndarray
    whole: np.ndarray
    made: np.ndarray
    spent: np.ndarray
    first: np.ndarray
    shortest: np.ndarray


def proposed(columns: dict[str, np.ndarray], about: dict, budgets: list[int]) -> dict[WriterKey, Proposed]:
    """Each writer of a proposals.arrow."""
    found, beams = {}, {}
    for number, writer in enumerate(about["writers"]):
        here = {name: values[columns["writer"] == number] for name, values in columns.items()}
        if writer["name"] == BEAM:
            beams.setdefault(writer["grammar"], []).append((int(writer["value"]), here))
            continue
        key = WriterKey(writer["name"], writer["value"], writer["grammar"])
        found[key] = _of(here, about, budgets, writer["independent"])
    for grammar, widths in beams.items():
        each = {width: _of(here, about, [width], False) for width, here in widths}
        last = each[max(each)]
        solved = {name: np.concatenate([each[width].solved[name] for width in sorted(each)], axis=1) for name in JUDGED}
        found[WriterKey(BEAM, None, grammar)] = replace(last, budgets=sorted(each), solved=solved)
    return found


def _of(here: dict[str, np.ndarray], about: dict, budgets: list[int], independent: bool) -> Proposed:
    count = about["test"]
    total = np.bincount(here["program"], here["count"], count)
    n = int(total.max(initial=0))
    budgets = [budget for budget in budgets if independent is False or budget <= n]
    solved, spent = {}, {}
    for name, column in JUDGED.items():
        right = here[column]
        if independent:
            number = np.bincount(here["program"][right], here["count"][right], count)
            solved[name] = np.stack([pass_at(n, number, budget) for budget in budgets], axis=1)
            spent[name] = np.minimum((n + 1) / (number + 1), n)
        else:
            at = np.full(count, np.iinfo(np.int32).max)
            np.minimum.at(at, here["program"][right], here["first"][right])
            solved[name] = (at[:, None] < np.array(budgets)).astype(float)
            spent[name] = np.minimum(at + 1.0, total)
    right = here["shown"]
    order = np.lexsort((here["first"][right], here["program"][right]))
    program, statements = here["program"][right][order], here["statements"][right][order].astype(float)
    first, shortest = np.full((2, count), np.nan)
    programs, where = np.unique(program, return_index=True)
    first[programs] = statements[where]
    least = np.full(count, np.inf)
    np.minimum.at(least, program, statements)
    shortest[programs] = least[programs]
    whole = np.bincount(here["program"][here["whole"]], here["count"][here["whole"]], count)
    distinct = np.bincount(here["program"], here["whole"], count)
    return Proposed(budgets, solved, distinct / total, whole / total, total, spent["solved"], first, shortest)


@dataclass(frozen=True)
class Everything:
    """What was proposed: by step, language model (`NO_MODEL` without one, at every step) and writer.

    Neither writers without a model nor a pretrained one have a step.
    """

    proposals: dict[tuple[int | None, int | str], dict[WriterKey, Proposed]]
    shortest: np.ndarray  # (N,) statements of the shortest right program that anybody has found, or the corpus' own


def gather(analysis: Analysis) -> Everything:
    """All proposals of a study."""
    found, shortest = {}, []
    for (seed, step), path in analysis.proposals.items():
        columns, about = read_table(path)
        one = proposed(columns, about, analysis.settings.synthesis.budgets)
        found[step, NO_MODEL if seed is None else seed] = one
        shortest += [np.array(about["references"], float), *(writer.shortest for writer in one.values())]
    return Everything(found, np.fmin.reduce(shortest) if shortest else np.empty(0))


def _each(analysis: Analysis) -> Iterator[tuple[dict, WriterKey, list[Proposed]]]:
    """The columns that say who proposed, and what: of each language model, and of all."""
    everything = analysis.once(gather)
    for step in sorted({step for step, _ in everything.proposals}, key=lambda step: -1 if step is None else step):
        names = [name for at, name in everything.proposals if at == step]
        seeds = [name for name in names if isinstance(name, int)]
        groups = {name: [name] for name in names} | ({POOLED: seeds} if len(seeds) > 1 else {})
        for name, members in groups.items():
            each = [everything.proposals[step, member] for member in members]
            for key in each[0]:
                yield {"lm_seed": name, "step": step} | key._asdict(), key, [one[key] for one in each]


def synthesis_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `synthesis`."""
    rows, draws = [], _draws(analysis)
    for at, key, each in _each(analysis):
        for index, budget in enumerate(each[0].budgets):
            row = at | {"budget": budget, "n": len(each[0].first)}
            for name in JUDGED:
                row |= _mean(analysis, draws, name, [one.solved[name][:, index] for one in each])
            low, high = LANGUAGE.writers.REPORTED.get((key.writer, key.value), {}).get(budget, (None, None))
            rows.append(row | {"reported_low": low, "reported_high": high})
    return rows


def writer_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `writers`."""
    rows, draws, everything = [], _draws(analysis), analysis.once(gather)
    for at, _, each in _each(analysis):
        row = at | {"n": len(each[0].first), "n_solved": sum(int(np.isfinite(one.first).sum()) for one in each)}
        row |= _mean(analysis, draws, "programs", [one.whole for one in each])
        row |= _mean(analysis, draws, "distinct", [one.distinct for one in each])
        row |= _ratio(analysis, draws, "per_solution", [(one.spent, np.isfinite(one.first)) for one in each])
        longer = [one.first - everything.shortest for one in each]
        row |= _mean(analysis, draws, "longer", longer, intervals.POSITIVE)
        row |= _mean(analysis, draws, "first_length", [one.first for one in each], intervals.POSITIVE)
        rows.append(row)
    return rows


def _draws(analysis: Analysis) -> Resamples:
    return Resamples(analysis.draws.weights[:, : analysis.settings.synthesis.test])


def _mean(analysis: Analysis, draws: Resamples, name: str, each: list[np.ndarray], within=intervals.SHARE) -> dict:
    """The mean over specifications that have a number, with its interval; language models are units."""
    there = [np.isfinite(values) for values in each]
    return _ratio(
        analysis, draws, name, [(np.where(*one, 0.0), one[0]) for one in zip(there, each, strict=True)], within
    )


def _ratio(
    analysis: Analysis, draws: Resamples, name: str, each: list[tuple], within: tuple[float, float] = intervals.POSITIVE
) -> dict:
    """The quotient of two sums (N,) over specifications, with its interval; language models are units."""
    units = []
    for parts in each:
        totals = draws.totals(np.stack(parts, axis=1).astype(float))
        units.append(intervals.quotient(totals[:, 0], totals[:, 1]))
    programs = min(int(below.astype(bool).sum()) for _, below in each)
    confidence = analysis.settings.statistics.confidence
    return intervals.estimate(np.stack(units, axis=1), confidence, programs, within).columns(name)


def seconds_per_solution(manifests: Iterable[Path]) -> dict[str, float]:
    """Seconds that each writer takes up to the first right proposal, for each specification that it solves, by label.

    Of the last checkpoint, all language models together; a writer's seconds are those of all its proposals, shared out
    alike. `manifests` may be of other stages as well.
    """
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    for path in manifests:
        manifest = read_json(path)
        spent_by = manifest.get("notes", {}).get("writer_seconds", {})
        columns, about = read_table(path.parent / "proposals.arrow") if spent_by else ({}, {})
        for number, (label, seconds) in enumerate(spent_by.items()):
            here = {name: values[columns["writer"] == number] for name, values in columns.items()}
            one = _of(here, about, [1], about["writers"][number]["independent"])
            spent = seconds * one.spent.sum() / one.made.sum()
            whose = f", {PRETRAINED}" if about.get("seed") == PRETRAINED else ""
            found.setdefault((about.get("step") or 0, label + whose), []).append(
                np.array([spent, np.isfinite(one.first).sum()])
            )
    last = max((step for step, _ in found), default=0)
    totals = {label: sum(parts) for (step, label), parts in found.items() if step in (0, last)}
    return {label: round(float(spent / solved), 4) for label, (spent, solved) in totals.items() if solved}

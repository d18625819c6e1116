"""Tables of the stage `edits`: what a model does, and what is read in it, after its residual stream has been edited.

Pairs of base and target are resampled with their specification, with the draws of all other tables; language models are
units, see `measures.intervals`. A checkpoint whose model does the same behind base and target has no effect to speak
of: pairs whose next statements are less than `APART` apart are left out of `effect`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from progsem.measures import intervals
from progsem.measures.analysis import Analysis
from progsem.measures.intervals import Estimate, quotient
from progsem.measures.resampling import Resamples
from progsem.measures.results import POOLED, Checkpoint, Settings
from progsem.storage.files import read_table
from progsem.study.vocabulary import EDIT_SOURCES, MEAN, NO_CONTROL, ORIGINAL, UNEDITED

APART = 0.1  # total variation
SCORES = {
    "effect": "n_apart",
    "interchange": "n_flipped",
    "ends_target": "n_pairs",
    "ends_base": "n_pairs",
    "norm": "n_pairs",
}
READ = ("target_here", "target_last", "kept_here", "kept_last")
# What values can be taken; of all others a share.
WITHIN = {"effect": (-np.inf, 1.0), "corrected": intervals.CORRECTED, "norm": intervals.POSITIVE}


class EditKey(NamedTuple):
    """An edit, under which semantics, of which feature."""

    semantics: str
    feature: str
    edit: str
    control: str
    source: str
    layer: int

    def named(self) -> dict:
        """Its columns in tables that have no controls."""
        return {name: value for name, value in self._asdict().items() if name != "control"}


class StreamKey(NamedTuple):
    """What is read, under which semantics, behind which block."""

    semantics: str
    layer: int
    depth: str
    feature: str


@dataclass(frozen=True)
class Measured:
    """Values (1 + R, U) by column, of how many cases by the column that says it, and how many programs these are of."""

    values: dict[str, np.ndarray]
    counts: dict[str, int]
    programs: int


@dataclass(frozen=True)
class MeasuredEdits:
    """What was measured at one step of one language model, or of all."""

    edits: dict[EditKey, Measured]
    streams: dict[StreamKey, Measured]


def measure_edits(analysis: Analysis) -> dict[int, dict[int | str, MeasuredEdits]]:
    """By step and language model; steps without edits are left out."""
    settings, draws = analysis.settings, analysis.draws
    steps = settings.edits.steps(settings.lm)
    return analysis.at_each(steps, lambda here: measure_step(here, settings, draws))


def measure_step(checkpoints: list[Checkpoint], settings: Settings, draws: Resamples) -> dict[int | str, MeasuredEdits]:
    """What was measured at one step, by LM seed and `pooled` if there are several."""
    found = {}
    for one in checkpoints:
        edits, streams = {}, {}
        for semantics, files in sorted(one.edits.items()):
            edits |= edits_of(files.edits, semantics, draws)
            streams |= streams_of(files.readings, semantics, settings, draws)
        found[one.seed] = MeasuredEdits(edits, streams)
    if settings.pooled:
        each = list(found.values())
        found[POOLED] = MeasuredEdits(pool([one.edits for one in each]), pool([one.streams for one in each]))
    return found


def pool(each: list[dict]) -> dict:
    """What all of them have, with the language models as units."""
    return {
        key: Measured(
            {name: np.concatenate([one[key].values[name] for one in each], axis=1) for name in each[0][key].values},
            {name: sum(one[key].counts[name] for one in each) for name in each[0][key].counts},
            min(one[key].programs for one in each),
        )
        for key in each[0]
        if all(key in one for one in each)
    }


def edits_of(path: Path, semantics: str, draws: Resamples) -> dict[EditKey, Measured]:
    """What an edits.arrow says of each edit; of a feature without pairs, that there are none."""
    columns, about = read_table(path)
    found: dict[EditKey, Measured] = {}
    for feature in (name for name, (_, test) in about["pairs"].items() if not test):
        names = _numbers({name: values[:0] for name, values in columns.items()}, about["depths"])
        nothing = np.full((len(draws.weights), 1), np.nan)
        found[EditKey(semantics, feature, UNEDITED, NO_CONTROL, EDIT_SOURCES[0], 0)] = Measured(
            {name: nothing for name in names if not _counts(name)}, {name: 0 for name in names if _counts(name)}, 0
        )
    for feature in np.unique(columns["feature"]):
        here = {name: values[columns["feature"] == feature] for name, values in columns.items()}
        programs, cluster = np.unique(here["program"], return_inverse=True)
        named = np.stack([here[name].astype(np.int64) for name in ("edit", "control", "source", "layer")])
        keys, which = np.unique(named, axis=1, return_inverse=True)
        numbers = _numbers(here, about["depths"])
        # Totals of each column by program and edit: (programs, edits, columns).
        cells, edits = cluster.reshape(-1) * keys.shape[1] + which.reshape(-1), keys.shape[1]
        sums = np.stack([np.bincount(cells, values, len(programs) * edits) for values in numbers.values()], axis=1)
        totals = Resamples(draws.weights[:, programs]).totals(sums.reshape(len(programs), edits, -1))
        for index, (edit, control, source, layer) in enumerate(keys.T.tolist()):
            of_edit = about["edits"][edit], about["controls"][control], about["sources"][source], layer
            total = dict(zip(numbers, totals[:, index].T, strict=True))
            found[EditKey(semantics, about["features"][feature], *of_edit)] = Measured(
                {name: quotient(total[name], total[_of(name)])[:, None] for name in total if not _counts(name)},
                {name: round(float(total[name][0])) for name in total if _counts(name)},
                len(programs),
            )
    return found


def _counts(name: str) -> bool:
    return name.startswith("n_")


def _of(name: str) -> str:
    """The column that says of how many pairs another one is the mean."""
    return SCORES.get(name, "n_pairs")


def _numbers(columns: dict[str, np.ndarray], depths: list[str]) -> dict[str, np.ndarray]:
    """What is added up of each pair: scores where they count, and how many count for which."""
    apart = columns["distance_base"] >= APART
    flipped = columns["top_base"] != columns["top_target"]
    effect = 1 - quotient(columns["distance"].astype(float), columns["distance_base"].astype(float), 1.0)
    numbers = {
        "n_pairs": np.ones(len(apart)),
        "n_apart": apart,
        "n_flipped": flipped,
        "effect": np.where(apart, effect, 0.0),
        "interchange": flipped & (columns["top"] == columns["top_target"]),
        **{name: columns[name] for name in ("ends_target", "ends_base", "norm")},
    }
    for name in READ:
        of_depths = columns[name].reshape(len(apart), len(depths))
        numbers |= {f"{name}.{depth}": of_depths[:, index] for index, depth in enumerate(depths)}
    return {name: values.astype(float) for name, values in numbers.items()}


def streams_of(path: Path, semantics: str, settings: Settings, draws: Resamples) -> dict[StreamKey, Measured]:
    """What a readings.arrow says: accuracy, majority and corrected by block, probe and feature, and their mean."""
    columns, about = read_table(path)
    found: dict[StreamKey, Measured] = {}
    for layer in np.unique(columns["layer"]).tolist():
        here = {name: values[columns["layer"] == layer] for name, values in columns.items()}
        cluster, n = here["program"], len(here["program"])
        programs = len(np.unique(cluster))
        for index, depth in enumerate(about["depths"]):
            parts = []
            for feature in about["features"]:
                right, most = here[f"right_{feature}"].reshape(n, -1)[:, index], here[f"majority_{feature}"]
                sums = [np.bincount(cluster, one, settings.test) for one in (np.ones(n), right, most)]
                states, *counted = draws.totals(np.stack(sums, axis=1)).T
                accuracy, majority = (quotient(part, states) for part in counted)
                parts.append((accuracy, majority, quotient(accuracy - majority, 1 - majority)))
            mean = [np.mean(part, axis=0) for part in zip(*parts, strict=True)]
            for feature, values in zip([*about["features"], MEAN], [*parts, mean], strict=True):
                named = zip(("accuracy", "majority", "corrected"), values, strict=True)
                found[StreamKey(semantics, layer, depth, feature)] = Measured(
                    {name: one[:, None] for name, one in named}, {"n_states": n}, programs
                )
    return found


def edit_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `edits`."""
    rows = []
    for at, measured in _each(analysis):
        for key, one in measured.edits.items():
            row = at | key._asdict() | one.counts | {"n_programs": one.programs}
            for name in SCORES:
                row |= _estimate(analysis, one, name).columns(name)
            rows.append(row)
    return rows


def compared_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `edits_compared`: differences are of the same resamples."""
    rows = []
    for at, measured in _each(analysis):
        for key, other in measured.edits.items():
            own = measured.edits.get(key._replace(semantics=ORIGINAL))
            if key.semantics == ORIGINAL or key.control != NO_CONTROL or key.layer == 0 or own is None:
                continue
            values = own.values["effect"] - other.values["effect"]
            both = Measured({"difference": values}, {}, min(own.programs, other.programs))
            difference = _estimate(analysis, both, "difference", intervals.ANY)
            row = at | key.named() | difference.columns("difference") | {"p": float(difference.p_value())}
            for name, side in (("original", own), ("alternative", other)):
                row |= _estimate(analysis, side, "effect").columns(name) | {f"n_{name}": side.counts["n_apart"]}
            rows.append(row)
    return rows


def read_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `edits_read`."""
    rows = []
    for at, measured in _each(analysis):
        for key, one in measured.edits.items():
            for depth in analysis.settings.depths if key.control == NO_CONTROL else ():
                row = at | key.named() | {"depth": depth, "n_pairs": one.counts["n_pairs"]}
                for name in READ:
                    row |= _estimate(analysis, one, f"{name}.{depth}").columns(name)
                rows.append(row)
    return rows


def stream_rows(analysis: Analysis) -> list[dict]:
    """Rows of the table `streams`."""
    rows = []
    for at, measured in _each(analysis):
        for key, one in measured.streams.items():
            row = at | key._asdict() | one.counts | {"n_programs": one.programs}
            for name in one.values:
                row |= _estimate(analysis, one, name).columns(name)
            rows.append(row)
    return rows


def _each(analysis: Analysis) -> Iterator[tuple[dict, MeasuredEdits]]:
    """What was measured at each step of each language model; before it, the columns that say which."""
    for step, found in analysis.once(measure_edits).items():
        for name in analysis.names:
            yield {"lm_seed": name, "step": step}, found[name]


def _estimate(analysis: Analysis, measured: Measured, name: str, within=None) -> Estimate:
    confidence = analysis.settings.statistics.confidence
    return intervals.estimate(
        measured.values[name], confidence, measured.programs, within or WITHIN.get(name, intervals.SHARE)
    )

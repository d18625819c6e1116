"""What the statistics are computed from: settings, and the files of the stages before.

Nothing is computed here. Files are matched by the metadata they carry, not by
their paths; what is missing is a `UserError` that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from progsem.errors import UserError
from progsem.languages import LANGUAGE
from progsem.storage.files import read_csv, read_metadata, read_table
from progsem.study import config
from progsem.study.vocabulary import (
    DEPTHS,
    DESCRIPTION_LENGTH,
    LAYER,
    LAYERS,
    MEAN,
    METRICS,
    ORIGINAL,
    PRETRAINED,
    SOURCES,
    TEST,
)

POOLED = "pooled"  # value of lm_seed in rows that are means over LM seeds


@dataclass(frozen=True)
class ControlFiles:
    """The files of the stage `controls` at one checkpoint."""

    predictions: Path
    accuracy: Path
    description: Path


@dataclass(frozen=True)
class EditFiles:
    """The files of the stage `edits` at one checkpoint, under one semantics."""

    counterfactuals: Path
    edits: Path
    readings: Path


@dataclass(frozen=True)
class Predictions:
    """What probes answer under one semantics: its rows in a predictions.arrow of the stage `probes`."""

    path: Path
    semantics: str

    def read(self) -> tuple[dict[str, np.ndarray], dict]:
        """The columns of these rows, and the table's metadata."""
        columns, about = read_table(self.path)
        number = about["semantics"].index(self.semantics)
        start, end = np.searchsorted(columns["semantics"], [number, number + 1])  # one semantics behind another
        return {name: values[start:end] for name, values in columns.items()}, about


@dataclass(frozen=True)
class Checkpoint:
    """The files of one LM seed at one step: traces; predictions, accuracies and edits by semantics; controls if any.

    `offsets`: predictions of the original semantics at other offsets than 0, where these are probed.
    """

    seed: int
    step: int
    programs: Path
    predictions: dict[str, Predictions]
    accuracy: dict[str, Path]
    offsets: Predictions | None
    controls: ControlFiles | None
    edits: dict[str, EditFiles]


@dataclass(frozen=True)
class Outcomes:
    """What the probes of one checkpoint and semantics answered on N test states.

    source, offset, cluster (the program's number among the test programs),
    statement, final: (N,). right: (N, F, D, S) bool, whether a probe is right on
    all heads. majority: (N, F) bool, whether the majority class is.
    labels: by feature, (N, heads).
    """

    source: np.ndarray
    offset: np.ndarray
    cluster: np.ndarray
    statement: np.ndarray
    final: np.ndarray
    right: np.ndarray
    majority: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class ProbeReadings:
    """What one probe reads in N test states, and how sure it is of it.

    source, offset, cluster, statement: as those of `Outcomes`. read and confidence: by feature, (N, heads)
    and (N,), the probability that the probe gives to its answer.
    """

    source: np.ndarray
    offset: np.ndarray
    cluster: np.ndarray
    statement: np.ndarray
    read: dict[str, np.ndarray]
    confidence: dict[str, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """What the study asks for, in a fixed order.

    permutations: the names of each mirror pair that was drawn; sets: those of the
    stage `generalisation`; train_length: the shortest and longest training program;
    mirrored: whether the difficulty-matched alternative is the original's mirror image, as far as what is probed goes.
    """

    study: str
    lm: config.LM
    probes: config.Probes
    interventions: config.Interventions
    controls: config.Controls
    edits: config.Edits
    transcoders: config.Transcoders
    synthesis: config.Synthesis
    statistics: config.Statistics
    permutations: tuple[tuple[str, str], ...]
    sets: tuple[str, ...]
    gallery: int
    test: int
    step_limit: int
    train_length: tuple[int, int]
    mirrored: bool

    @classmethod
    def of(cls, job) -> Settings:
        """The settings of a job's frozen slice."""
        programs, interventions = job.section("programs"), job.section("interventions")
        matched = interventions.alternatives.get(interventions.difficulty_matched)
        return cls(
            study=job.slice["study"],
            lm=job.section("lm"),
            probes=job.section("probes"),
            interventions=interventions,
            controls=job.section("controls"),
            edits=job.section("edits"),
            transcoders=job.section("transcoders"),
            synthesis=job.section("synthesis"),
            statistics=job.section("statistics"),
            permutations=tuple((first, second) for first, second in job.slice["permutations"]),
            sets=tuple(sorted(job.section("generalisation").sets)),
            gallery=job.slice["figures"]["gallery"],
            test=job.section("traces").test,
            step_limit=programs.step_limit,
            train_length=programs.train_length,
            mirrored=matched is not None
            and LANGUAGE.permutations.is_mirror_image(matched, programs, job.section("probes").features),
        )

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Names of the alternative semantics, the difficulty-matched one first."""
        names = sorted(self.interventions.alternatives)
        return tuple(sorted(names, key=lambda name: name != self.interventions.difficulty_matched))

    @property
    def untrained(self) -> list[int]:
        """The step before training, if there is a checkpoint of it: those from elsewhere may have none."""
        return [step for step in self.lm.every_step() if step == 0]

    @property
    def control_steps(self) -> tuple[int, ...]:
        """Steps whose checkpoints have controls."""
        return tuple(self.controls.steps(self.lm))

    def expected(self, step: int) -> set[str]:
        """Names of the semantics that are probed at a step."""
        listed = {name for name in self.alternatives if step in self.interventions.steps(self.lm, name)}
        drawn = {name for pair in self.permutations for name in pair if step == self.lm.every_step()[-1]}
        return {ORIGINAL} | listed | drawn

    @property
    def features(self) -> tuple[str, ...]:
        """The probed features, in the order of the config."""
        return tuple(self.probes.features)

    @property
    def depths(self) -> tuple[str, ...]:
        """The probes' depths, shallowest first."""
        return tuple(depth for depth in DEPTHS if depth in self.probes.depths)

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of states, generated first."""
        return tuple(source for source in SOURCES if source in self.probes.sources)

    @property
    def states(self) -> tuple[str, ...]:
        """State sets that every semantics has, the headline's first."""
        return ("non_final",) if self.probes.drop_final else ("all", "non_final")

    @property
    def pooled(self) -> bool:
        """Whether there are several language models to take the mean of."""
        return len(self.lm.seeds) > 1

    @property
    def headline_seed(self) -> int | str:
        """Value of `lm_seed` in the rows that the summary quotes."""
        return POOLED if self.pooled else self.lm.seeds[0]


def find_checkpoints(job, settings: Settings) -> list[Checkpoint]:
    """Which files belong to which LM seed and step, by the metadata they carry; seeds in config order."""
    paths = {}
    for path in job.inputs["programs"]:
        about = read_metadata(path)
        paths[about["seed"], about["step"]] = path
    predictions = {key: {} for key in paths}
    accuracy = {key: {} for key in paths}
    offsets, controls, edits = {}, {}, {key: {} for key in paths}
    for path, table in _side_by_side(job, "predictions", "accuracy"):
        about = read_metadata(path)
        key = _key(about, paths, path, "predictions")
        if 0 not in about["offsets"]:
            offsets[key] = Predictions(path, ORIGINAL)
            continue
        predictions[key] |= {name: Predictions(path, name) for name in about["semantics"]}
        accuracy[key] |= dict.fromkeys(about["semantics"], table)
    for path, table, description in _side_by_side(
        job, "controls_predictions", "controls_accuracy", "controls_description"
    ):
        about = read_metadata(path)
        key = _key(about, paths, path, "controls")
        if _key(read_metadata(description), paths, description, "description lengths") != key:
            raise UserError(f"{description}: of another checkpoint than {path}; give them in the same order")
        _refuse_missing_controls(path, about["controls"], settings)
        controls[key] = ControlFiles(path, table, description)
    for files in _side_by_side(job, "counterfactuals", "edits", "readings"):
        about = read_metadata(files[0])
        edits[_key(about, paths, files[0], "edits")][about["semantics"]] = EditFiles(*files)
    for seed in settings.lm.seeds:
        for step in settings.lm.every_step():
            missing = settings.expected(step) - set(predictions.get((seed, step), {}))
            if missing:
                raise UserError(
                    f"statistics: LM seed {seed}, step {step} lacks predictions under {', '.join(sorted(missing))}; "
                    "give those of every checkpoint and semantics"
                )
            if step in settings.probes.offset_steps(settings.lm) and (seed, step) not in offsets:
                raise UserError(
                    f"statistics: LM seed {seed}, step {step} lacks predictions at other offsets than 0; give those of "
                    f"every checkpoint that probes.offset_checkpoints, {settings.probes.offset_checkpoints}, asks for"
                )
            if step in settings.control_steps and (seed, step) not in controls:
                raise UserError(
                    f"statistics: LM seed {seed}, step {step} lacks controls; give those of every checkpoint that "
                    f"controls.checkpoints, {settings.controls.checkpoints}, asks for"
                )
            edited = {ORIGINAL, *settings.interventions.matched} if step in settings.edits.steps(settings.lm) else set()
            if edited - set(edits[seed, step]):
                raise UserError(
                    f"statistics: LM seed {seed}, step {step} lacks edits; give those of every checkpoint that "
                    f"edits.checkpoints, {settings.edits.checkpoints}, asks for, under every semantics"
                )
    return [
        Checkpoint(
            seed, step, paths[key], predictions[key], accuracy[key], offsets.get(key), controls.get(key), edits[key]
        )
        for key in product(settings.lm.seeds, settings.lm.every_step())
        for seed, step in [key]
    ]


def find_generalisation(job, settings: Settings) -> dict[int, Path]:
    """The file of the stage `generalisation` of each LM seed, in config order; none where no sets are asked for."""
    found = {}
    for path in job.inputs["generalisation"]:
        about = read_metadata(path)
        missing = set(settings.sets) - set(about["sets"])
        if missing:
            raise UserError(f"{path}: no specifications of {', '.join(sorted(missing))}; make it again with these sets")
        found[about["seed"]] = path
    missing = set(settings.lm.seeds) - set(found)
    if settings.sets and missing:
        seeds = ", ".join(map(str, sorted(missing)))
        raise UserError(f"statistics: no file of the stage generalisation is of LM seed {seeds}; give one of each")
    return {seed: found[seed] for seed in settings.lm.seeds if seed in found}


def find_proposals(job, settings: Settings) -> dict[tuple[int | str | None, int | None], Path]:
    """The proposals.arrow of each LM seed and step, and under (None, None) that of the writers without one.

    A pretrained model stands under its name in place of a seed, and has no step.
    """
    found = {}
    for path in job.inputs["proposals"]:
        about = read_metadata(path)
        found[about.get("seed"), about.get("step")] = path
    wanted = set(product(settings.lm.seeds, settings.synthesis.steps(settings.lm)))
    wanted |= {(None, None)} if settings.synthesis.plain else set()
    wanted |= {(PRETRAINED, None)} if job.slice.get("pretrained") else set()
    others = {None: "writers without a language model", PRETRAINED: "the pretrained model"}
    for seed, step in sorted(wanted - set(found), key=str):
        whose = others.get(seed, f"LM seed {seed}, step {step}")
        raise UserError(f"statistics: no proposals of {whose}; give those of every checkpoint that is asked")
    return found


def find_transcoders(job, settings: Settings) -> dict[str, dict[tuple[int, int], Path]]:
    """The files of the stage `transcoders` by name, then by LM seed and step, which activations.arrow says."""
    found: dict[str, dict] = {name: {} for name in ("scores", "properties", "activations")}
    for files in _side_by_side(job, *(f"transcoders_{name}" for name in found)):
        about = read_metadata(files[-1])
        for one, path in zip(found.values(), files, strict=True):
            one[about["seed"], about["step"]] = path
    missing = set(product(settings.lm.seeds, settings.transcoders.steps_of(settings.lm))) - set(found["scores"])
    for seed, step in sorted(missing):
        raise UserError(f"statistics: no transcoders of LM seed {seed}, step {step}; give those of every checkpoint")
    return found


def _side_by_side(job, *names: str) -> Iterator[tuple[Path, ...]]:
    """The files of these inputs, which go together in the order in which they are given."""
    counts = {len(job.inputs[name]) for name in names}
    if len(counts) > 1:
        given = ", ".join(f"{len(job.inputs[name])} {name}" for name in names)
        raise UserError(f"statistics: given {given}; give as many of each, in the same order")
    return zip(*(job.inputs[name] for name in names), strict=True)


def _key(about: dict, known: dict, path: Path, what: str) -> tuple[int, int]:
    """LM seed and step of a file, which must have traces."""
    key = about["seed"], about["step"]
    if key not in known:
        raise UserError(f"{path}: {what} of LM seed {key[0]}, step {key[1]}, which has no traces here")
    return key


def _refuse_missing_controls(path: Path, there: list[str], settings: Settings) -> None:
    # A description length is no control that answers, and layers have a name each.
    wanted = set(settings.controls.kinds) - {LAYERS, DESCRIPTION_LENGTH}
    if LAYERS in settings.controls.kinds:
        wanted |= {f"{LAYER}{layer}" for layer in range(settings.lm.layers + 1)} | {MEAN} - {settings.probes.layer}
    missing = wanted - set(there)
    if missing:
        raise UserError(f"{path}: no predictions of the controls {', '.join(sorted(missing))}; make it again")


def read_programs(path: Path, expected: int) -> dict[str, np.ndarray]:
    """The test rows of a programs.arrow; `row_in_file` holds their row numbers."""
    columns, _ = read_table(path)
    rows = np.flatnonzero(columns["split"] == TEST)
    if len(rows) != expected:
        raise UserError(f"{path}: {len(rows)} test programs, expected {expected} (traces.test); trace it again")
    return {name: values[rows] for name, values in columns.items()} | {"row_in_file": rows}


def read_outcomes(
    predictions: Predictions, settings: Settings, rows: np.ndarray, more: Predictions | None = None
) -> Outcomes:
    """The probes' answers, also `more` of them at other offsets; `rows` are the test programs' row numbers."""
    columns, about = predictions.read()
    if more:
        others, _ = more.read()
        columns = {name: np.concatenate([values, others[name]]) for name, values in columns.items()}
    return _outcomes(predictions.path, columns, about, settings, rows)


def read_readings(predictions: Predictions, settings: Settings, rows: np.ndarray) -> ProbeReadings:
    """What the deepest probe of seed 0 reads; `rows` are the test programs' row numbers."""
    columns, about = predictions.read()
    _refuse_missing_features(predictions.path, about, settings)
    depth = about["depths"].index(settings.depths[-1])
    shape = len(columns["program"]), len(about["depths"]), about["seeds"]
    return ProbeReadings(
        source=columns["source"],
        offset=columns["offset"],
        cluster=np.searchsorted(rows, columns["program"]),
        statement=columns["statement"],
        read={name: columns[f"predicted_{name}"].reshape(*shape, -1)[:, depth, 0] for name in settings.features},
        confidence={name: columns[f"confidence_{name}"].reshape(shape)[:, depth, 0] for name in settings.features},
    )


def read_controls(path: Path, settings: Settings, rows: np.ndarray) -> Iterator[tuple[str, Outcomes]]:
    """Name and answers of each control in a predictions.arrow of the stage `controls`, one at a time."""
    columns, about = read_table(path)
    for number, name in enumerate(about["controls"]):
        here = np.flatnonzero(columns["control"] == number)
        yield name, _outcomes(path, {key: values[here] for key, values in columns.items()}, about, settings, rows)


def _outcomes(path: Path, columns: dict, about: dict, settings: Settings, rows: np.ndarray) -> Outcomes:
    _refuse_missing_features(path, about, settings)
    depths = [about["depths"].index(depth) for depth in settings.depths]
    n, seeds = len(columns["program"]), about["seeds"]
    labels, right = {}, np.empty((n, len(settings.features), len(depths), seeds), dtype=bool)
    for index, feature in enumerate(settings.features):
        heads = about["features"][feature]["heads"]
        predicted = columns[f"predicted_{feature}"].reshape(n, len(about["depths"]), seeds, heads)
        labels[feature] = columns[f"label_{feature}"].reshape(n, heads)
        right[:, index] = (predicted[:, depths] == labels[feature][:, None, None]).all(axis=3)
    return Outcomes(
        source=columns["source"],
        offset=columns["offset"],
        cluster=np.searchsorted(rows, columns["program"]),
        statement=columns["statement"],
        final=columns["final"],
        right=right,
        majority=np.stack([columns[f"majority_{feature}"] for feature in settings.features], axis=1),
        labels=labels,
    )


def _refuse_missing_features(path: Path, about: dict, settings: Settings) -> None:
    unknown = set(settings.features) - set(about["features"])
    if unknown:
        raise UserError(f"{path}: no predictions of {', '.join(sorted(unknown))}; probe again with these features")


def training_rows(paths: list[Path], settings: Settings) -> list[dict]:
    """The training metrics of every LM seed, a row a logged step; `paths` are ordered seed by seed.

    A metrics table covers one interval and counts tokens and programs since the
    row before; here they are counted from the start of the training.
    """
    each, rest = divmod(len(paths), len(settings.lm.seeds))
    if rest:
        raise UserError(
            f"statistics: {len(paths)} metrics tables for {len(settings.lm.seeds)} LM seeds; give all of each"
        )
    rows = []
    for index, seed in enumerate(settings.lm.seeds):
        by_step = {}
        for path in paths[index * each : (index + 1) * each]:
            for row in read_csv(path):
                by_step[int(row["step"])] = row
        seen = {"tokens": 0, "programs": 0}
        for step in sorted(by_step):
            row = {name: _parse(by_step[step][name]) for name in METRICS}
            seen = {name: count + row[name] for name, count in seen.items()}
            rows.append({"lm_seed": seed} | row | seen)
    return rows


def count_training_lengths(shards: list[Path]) -> np.ndarray:
    """How many training programs have 0, 1, 2, … statements."""
    counts = np.zeros(0, dtype=np.int64)
    for path in shards:
        more = np.bincount(statements(read_table(path)[0]["program"]))
        width = max(len(counts), len(more))
        counts = np.pad(counts, (0, width - len(counts))) + np.pad(more, (0, width - len(more)))
    return counts


def statements(programs: np.ndarray) -> np.ndarray:
    """Number of action statements of (N, L) codes, shape (N,)."""
    return LANGUAGE.codes.is_action(programs).sum(axis=1)


def _parse(text: str) -> int | float | None:
    """A number as written in a metrics table."""
    if text == "":
        return None
    return float(text) if any(mark in text for mark in ".en") else int(text)

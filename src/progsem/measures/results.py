"""What the statistics are computed from: settings, and the files of the stages before.

Nothing is computed here. Files are matched by the metadata they carry, not by
their paths; what is missing is a `UserError` that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progsem import config
from progsem.artifacts import read_csv, read_table
from progsem.errors import UserError
from progsem.karel import codes
from progsem.measures import bootstrap

SOURCES = ("generated", "forced")
TEST = 2  # code of the test split in programs.arrow
DEPTHS = ("linear", "mlp1", "mlp2")  # shallowest first
ORIGINAL = "original"
MEAN = "mean"  # the row that is the mean over features
METRICS = ("step", "tokens", "programs", "loss", "learning_rate", "gradient_norm")
POOLED = "pooled"  # value of lm_seed in rows that are means over LM seeds


@dataclass(frozen=True)
class Checkpoint:
    """The files of one LM seed at one step: traces, and predictions and accuracies by semantics."""

    seed: int
    step: int
    programs: Path
    predictions: dict[str, Path]
    accuracy: dict[str, Path]


@dataclass(frozen=True)
class Outcomes:
    """What the probes of one checkpoint and semantics answered on N test states.

    source, offset, cluster (the program's number among the test programs),
    statement, final: (N,). right: (N, F, D, S) bool, whether a probe is right on
    all heads. majority: (N, F) bool, whether the majority class is.
    labels and readings: by feature, (N, heads) and (N, D, S, heads).
    """

    source: np.ndarray
    offset: np.ndarray
    cluster: np.ndarray
    statement: np.ndarray
    final: np.ndarray
    right: np.ndarray
    majority: np.ndarray
    labels: dict[str, np.ndarray]
    readings: dict[str, np.ndarray]
    depths: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What the study asks for, in a fixed order, and the draws of the bootstrap."""

    study: str
    lm: config.LM
    probes: config.Probes
    interventions: config.Interventions
    statistics: config.Statistics
    gallery: int
    test: int
    step_limit: int

    @classmethod
    def of(cls, job) -> Settings:
        """The settings of a job's frozen slice."""
        return cls(
            study=job.slice["study"],
            lm=job.section("lm"),
            probes=job.section("probes"),
            interventions=job.section("interventions"),
            statistics=job.section("statistics"),
            gallery=job.slice["figures"]["gallery"],
            test=job.section("traces").test,
            step_limit=job.section("programs").step_limit,
        )

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Names of the alternative semantics, the difficulty-matched one first."""
        names = sorted(self.interventions.alternatives)
        return tuple(sorted(names, key=lambda name: name != self.interventions.difficulty_matched))

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

    def draws(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bootstrap weights (1 + R, …) of the test programs, of the LM seeds and of the probe seeds."""
        seed, resamples = self.statistics.seed, self.statistics.resamples
        return (
            bootstrap.resampling_weights(self.test, resamples, np.random.default_rng([seed, 0])),
            bootstrap.resampling_weights(len(self.lm.seeds), resamples, np.random.default_rng([seed, 1])),
            bootstrap.rescaled(
                bootstrap.resampling_weights(self.probes.seeds, resamples, np.random.default_rng([seed, 3]))
            ),
        )


def find_checkpoints(job, settings: Settings) -> list[Checkpoint]:
    """Which files belong to which LM seed and step, by the metadata they carry; seeds in config order."""
    paths = {}
    for path in job.inputs["programs"]:
        about = metadata(path)
        paths[about["seed"], about["step"]] = path
    predictions = {key: {} for key in paths}
    accuracy = {key: {} for key in paths}
    if len(job.inputs["predictions"]) != len(job.inputs["accuracy"]):
        raise UserError(
            f"statistics: {len(job.inputs['predictions'])} predictions but {len(job.inputs['accuracy'])} accuracy "
            "tables; give one of each a checkpoint and semantics, in the same order"
        )
    for path, table in zip(job.inputs["predictions"], job.inputs["accuracy"], strict=True):
        about = metadata(path)
        key = about["seed"], about["step"]
        if key not in paths:
            raise UserError(f"{path}: predictions of LM seed {key[0]}, step {key[1]}, which has no traces here")
        predictions[key][about["semantics"]] = path
        accuracy[key][about["semantics"]] = table
    wanted = {ORIGINAL, *settings.alternatives}
    for seed in settings.lm.seeds:
        for step in settings.lm.checkpoints():
            missing = wanted - set(predictions.get((seed, step), {}))
            if missing:
                raise UserError(
                    f"statistics: LM seed {seed}, step {step} lacks predictions under {', '.join(sorted(missing))}; "
                    "give those of every checkpoint and semantics"
                )
    return [
        Checkpoint(seed, step, paths[seed, step], predictions[seed, step], accuracy[seed, step])
        for seed in settings.lm.seeds
        for step in settings.lm.checkpoints()
    ]


def metadata(path: Path) -> dict:
    """The metadata of an Arrow file, without its rows."""
    return read_table(path)[1]


def read_programs(path: Path, expected: int) -> dict[str, np.ndarray]:
    """The test rows of a programs.arrow; `row_in_file` holds their row numbers."""
    columns, _ = read_table(path)
    rows = np.flatnonzero(columns["split"] == TEST)
    if len(rows) != expected:
        raise UserError(f"{path}: {len(rows)} test programs, expected {expected} (traces.test); trace it again")
    return {name: values[rows] for name, values in columns.items()} | {"row_in_file": rows}


def read_outcomes(path: Path, settings: Settings, rows: np.ndarray) -> Outcomes:
    """The probes' answers in a predictions.arrow; `rows` are the test programs' row numbers."""
    columns, about = read_table(path)
    unknown = set(settings.features) - set(about["features"])
    if unknown:
        raise UserError(f"{path}: no predictions of {', '.join(sorted(unknown))}; probe again with these features")
    take = [about["depths"].index(depth) for depth in settings.depths]
    n, seeds = len(columns["program"]), about["seeds"]
    labels, readings, right = {}, {}, []
    for feature in settings.features:
        heads = about["features"][feature]["heads"]
        predicted = columns[f"predicted_{feature}"].reshape(n, len(about["depths"]), seeds, heads)[:, take]
        label = columns[f"label_{feature}"].reshape(n, heads)
        labels[feature], readings[feature] = label, predicted
        right.append((predicted == label[:, None, None, :]).all(axis=3))
    return Outcomes(
        source=columns["source"],
        offset=columns["offset"],
        cluster=np.searchsorted(rows, columns["program"]),
        statement=columns["statement"],
        final=columns["final"],
        right=np.stack(right, axis=1),
        majority=np.stack([columns[f"majority_{feature}"] for feature in settings.features], axis=1),
        labels=labels,
        readings=readings,
        depths=settings.depths,
    )


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
    return (programs < len(codes.ACTIONS)).sum(axis=1)


def _parse(text: str) -> int | float | None:
    """A number as written in a metrics table."""
    if text == "":
        return None
    return float(text) if any(mark in text for mark in ".en") else int(text)

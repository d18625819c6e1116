"""Stage `probes`: how well a probe reads program states from hidden states.

The programs of the traces are executed on the world they were traced on, under
the semantics of the slice; each hidden state is paired with the world some
statements before or after it; probes are fitted on training, chosen on validation
and reported on test specifications. An intervention is this stage with other `meanings`:
the same hidden states, minibatches and initial weights, other labels. The slices of
alternatives ask for the offsets at which they are compared with the original.

Writes `predictions` (Arrow, a row per test state; columns in `progsem.storage.columns`),
`accuracy` (CSV, a row per semantics, source, offset, feature, depth and seed), and `probes`
(safetensors): the first seed's probes at offset 0, by SEMANTICS.SOURCE.DEPTH.LAYER their
weight (heads, out, in) and bias (heads, out), float32. They read hidden states as they are,
and have ReLUs in between; classes that a head does not have are at minus infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from progsem.hardware import choose_device, choose_precision
from progsem.jobs.job import Job
from progsem.jobs.progress import Progress
from progsem.languages import LANGUAGE
from progsem.languages.labels import Head, majority_label, spans
from progsem.limits import FEWEST_STATES
from progsem.probing.fits import Fitted, States, fit
from progsem.storage.files import read_table, save_tensors, write_csv, write_table
from progsem.study.config import Probes
from progsem.study.vocabulary import GENERATED, LAST, LAYER, PROGRAMS, SOURCES, TEST, TRAIN, VALIDATION

FEWEST = dict(zip((TRAIN, VALIDATION, TEST), FEWEST_STATES.values(), strict=True))  # else a data set is left out
ACCURACY_COLUMNS = (
    "semantics,source,offset,feature,depth,seed,n_train,n_validation,n_test,classes,chosen_step,"
    "validation_accuracy,test_accuracy,majority_accuracy"
).split(",")


def aligned(
    run, program: np.ndarray, statement: np.ndarray, offset: int, drop_final: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pair hidden states with the statements of a run (`LANGUAGE.execution.trace`) whose outcome is asked about.

    `program` and `statement` (M,) say where each hidden state belongs. Returns the
    states (N,) that have a partner, and the partner's statement number (N,): their own
    plus `offset`, where the program has such a statement and executes it. With
    `drop_final`, states at a program's last statement have none.
    """
    target = statement.astype(np.int64) + offset
    there = (target >= 0) & (target < run.actions[program])
    if drop_final:
        there &= statement < run.actions[program] - 1
    states = np.flatnonzero(there)
    states = states[run.executed[program[states], target[states]]]
    return states, target[states]


def labels_of(
    run, program: np.ndarray, statement: np.ndarray, offset: int, recipe: Probes
) -> tuple[np.ndarray, np.ndarray]:
    """Which hidden states (M,) have a label, (N,), and the labels of the recipe's features, (N, heads) uint8.

    Arguments as for `aligned`.
    """
    states, target = aligned(run, program, statement, offset, recipe.drop_final)
    return states, LANGUAGE.features.labels(recipe.features, run.states(program[states], target))


def run(job: Job) -> None:
    """Execute, align, fit, report.

    The slice holds `probes`, `meanings` (mappings of statements by the names of the semantics),
    `programs.step_limit` and `lm.precision`.
    """
    torch.set_num_threads(job.threads)
    recipe: Probes = job.section("probes")
    meanings: dict[str, dict] = job.slice["meanings"]
    traced = Traced(job, recipe)
    prober = Prober(job, recipe, traced.heads, len(meanings) * len(recipe.sources) * len(recipe.offsets))
    parts, rows, kept = [_of_semantics(0, no_predictions(traced.heads, recipe))], [], {}
    for number, (semantics, mapping) in enumerate(meanings.items()):
        traced.execute(mapping)
        datasets = usable(job, recipe, traced, semantics)
        for data, fitted in zip(datasets, prober.fit([data.states for data in datasets]), strict=True):
            parts.append(_of_semantics(number, predictions(data, fitted, traced.heads)))
            rows += accuracies(data, fitted, traced.heads, recipe, semantics)
            if data.offset == 0:
                kept |= named(fitted, recipe, f"{semantics}.{data.source}")
    prober.close()
    metadata = {**about(traced, recipe), "semantics": list(meanings)}
    write_table(job.output("predictions"), one_behind_another(parts), metadata, "predictions")
    write_csv(job.output("accuracy"), ACCURACY_COLUMNS, rows)
    save_tensors(job.output("probes"), kept)


def named(fitted: Fitted, recipe: Probes, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of probes.safetensors for one data set, their names beginning with `prefix`."""
    return {
        f"{prefix}.{depth}.{number}.{part}": tensor
        for depth, layers in zip(recipe.depths, fitted.weights, strict=True)
        for number, layer in enumerate(layers)
        for part, tensor in zip(("weight", "bias"), layer, strict=True)
    }


class Traced:
    """A checkpoint's traces, whose programs are executed under one semantics after another.

    `programs` and `metadata` are those of programs.arrow, `heads` those of the recipe's features on its worlds; by
    source, `tables` are the hidden states (memory-mapped), of which the recipe reads the column `layer`, and `runs`
    what the programs did that they belong to, when they were last executed.
    """

    def __init__(self, job: Job, recipe: Probes):
        self.programs, self.metadata = read_table(job.input("programs"))
        self.heads = LANGUAGE.features.heads(recipe.features, self.metadata)
        last = recipe.layer == LAST
        self.layer = f"{LAYER}{self.metadata['layers']}" if last else recipe.layer
        self.tables = {source: read_table(job.input(source))[0] for source in recipe.sources}
        self.worlds = LANGUAGE.execution.of_columns(self.programs, self.metadata)  # (programs, 1)
        self._sources, self._step_limit = recipe.sources, job.section("programs").step_limit
        self.runs: dict = {}

    def execute(self, mapping: dict[str, str]) -> None:
        """Let the programs run with the statements meaning what a mapping says."""
        first, meanings = self.worlds.at(np.s_[:, 0]), LANGUAGE.codes.semantics(mapping)
        self.runs = {
            source: LANGUAGE.execution.trace(self.programs[PROGRAMS[source]], first, self._step_limit, meanings)
            for source in self._sources
        }


@dataclass(frozen=True)
class DataSet:
    """The labelled states of one source and offset, and where each of them stands.

    `program` (N,) is the row in programs.arrow, `statement` (N,) the number of the
    statement there, `position` (N,) that of its code, and `final` (N,) whether it is the last.
    """

    source: str
    offset: int
    states: States
    program: np.ndarray
    statement: np.ndarray
    position: np.ndarray
    final: np.ndarray


def labelled(traced: Traced, source: str, offset: int, recipe: Probes, only: int | None = None) -> DataSet:
    """The data set of one source and offset, or what is `only` of one split of it.

    States at statements outside `recipe.positions` train and choose nothing: only test states are taken there.
    """
    run, table = traced.runs[source], traced.tables[source]
    split = traced.programs["split"][table["program"]]
    asked = np.arange(len(split)) if only is None else np.flatnonzero(split == only)
    states, labels = labels_of(run, table["program"][asked], table["statement"][asked], offset, recipe)
    states = asked[states]
    split = split[states]
    if recipe.positions:
        own = table["statement"][states]
        inside = np.any([(first <= own) & (own <= last) for first, last in recipe.positions], axis=0)
        kept = inside | (split == TEST)
        states, labels, split = states[kept], labels[kept], split[kept]
    program, statement = table["program"][states], table["statement"][states]
    return DataSet(
        source=source,
        offset=offset,
        states=States(f"{source} {offset}", table[traced.layer], states, labels, split),
        program=program,
        statement=statement,
        position=table["position"][states],
        final=statement == run.actions[program] - 1,
    )


def usable(job: Job, recipe: Probes, traced: Traced, semantics: str) -> list[DataSet]:
    """The data sets of every source and offset that have enough states; the others go to the job's notes."""
    datasets = []
    left_out = job.notes.setdefault("left_out", [])
    for source in recipe.sources:
        for offset in recipe.offsets:
            data = labelled(traced, source, offset, recipe)
            counts = {split: len(data.states.of(split)) for split in FEWEST}
            if all(counts[split] >= fewest for split, fewest in FEWEST.items()):
                datasets.append(data)
            else:
                left_out.append(
                    {"semantics": semantics, "source": source, "offset": offset, "states": list(counts.values())}
                )
    return datasets


class Prober:
    """Fits probes on a job's device, in its precision, and says how many of `fits` data sets' are done."""

    def __init__(self, job: Job, recipe: Probes, heads: list[Head], fits: int):
        self.recipe, self.heads = recipe, heads
        self.device = choose_device(job.device)
        self.precision = choose_precision(job.section("lm").precision, self.device)
        job.notes |= {"device": self.device.type, "precision": str(self.precision).removeprefix("torch.")}
        probes = fits * recipe.seeds * len(recipe.depths) * len(heads)
        self._progress = Progress(job.stage, probes, "probes")

    def fit(self, states: list[States], by_likelihood: bool = False, **changed) -> list[Fitted]:
        """As `probe_fit.fit`; `changed` are keys of the recipe with other values."""
        recipe = self.recipe.model_copy(update=changed)
        return fit(
            states,
            self.heads,
            recipe,
            self.device,
            self.precision,
            progress=self._progress.update,
            by_likelihood=by_likelihood,
        )

    def close(self) -> None:
        """All is fitted."""
        self._progress.close()


def about(traced: Traced, recipe: Probes) -> dict:
    """Metadata that files about probes have in common."""
    return {
        "depths": list(recipe.depths),
        "seeds": recipe.seeds,
        "offsets": list(recipe.offsets),
        "features": {
            feature: {"heads": span.stop - span.start, "classes": [head.classes for head in traced.heads[span]]}
            for feature, span in spans(traced.heads).items()
        },
        "step": traced.metadata["step"],
        "seed": traced.metadata["seed"],
    }


def accuracies(data: DataSet, fitted: Fitted, heads: list[Head], recipe: Probes, semantics: str) -> list[list]:
    """Rows of accuracy.csv for one data set.

    A feature is right where all its heads are. `chosen_step` lists its heads' steps,
    each chosen for itself, with `/` between.
    """
    states = data.states
    counts = [len(states.of(split)) for split in (TRAIN, VALIDATION, TEST)]
    train, validation, test = (states.labels[states.of(split)] for split in (TRAIN, VALIDATION, TEST))
    rows = []
    for feature, span in spans(heads).items():
        majority = (test[:, span] == majority_label(train[:, span])).all(1).mean()
        classes = int(np.prod([head.classes for head in heads[span]]))
        for depth, name in enumerate(recipe.depths):
            for seed in range(recipe.seeds):
                chosen = "/".join(map(str, fitted.chosen_step[depth, seed, span]))
                right = [
                    (predicted[:, depth, seed, span] == labels[:, span]).all(1).mean()
                    for predicted, labels in ((fitted.validation, validation), (fitted.test, test))
                ]
                scores = [round(float(value), 6) for value in (*right, majority)]
                rows.append(
                    [semantics, data.source, data.offset, feature, name, seed, *counts, classes, chosen, *scores]
                )
    return rows


def predictions(data: DataSet, fitted: Fitted, heads: list[Head]) -> dict[str, np.ndarray]:
    """Columns of predictions.arrow for the test states of one data set."""
    test, train = data.states.of(TEST), data.states.of(TRAIN)
    columns = {
        "source": np.full(len(test), SOURCES.index(data.source), np.int8),
        "offset": np.full(len(test), data.offset, np.int8),
        "program": data.program[test].astype(np.int32),
        "statement": data.statement[test].astype(np.int16),
        "final": data.final[test],
    }
    for feature, span in spans(heads).items():
        labels = data.states.labels[test, span]
        confidence = fitted.confidence[..., span].prod(-1).astype(np.float16)
        columns[f"label_{feature}"] = labels
        columns[f"majority_{feature}"] = (labels == majority_label(data.states.labels[train, span])).all(1)
        columns[f"predicted_{feature}"] = _rows(fitted.test[..., span])
        columns[f"confidence_{feature}"] = _rows(confidence)
    return columns


def _of_semantics(number: int, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"semantics": np.full(len(columns["source"]), number, np.int16), **columns}


def no_predictions(heads: list[Head], recipe: Probes) -> dict[str, np.ndarray]:
    """The columns of predictions.arrow without a row: those of a training state and no test states."""
    one = np.zeros(1, np.int64)
    states = States("", one[:, None], one, np.zeros((1, len(heads)), np.uint8), one + TRAIN)
    fitted = Fitted.unfilled(0, 0, (len(recipe.depths), recipe.seeds, len(heads)))
    return predictions(DataSet(GENERATED, 0, states, one, one, one, one == 0), fitted, heads)


def one_behind_another(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The rows of some tables with the same columns."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rows(values: np.ndarray) -> np.ndarray:
    """(N, …) as (N, K), in C order, also where N is 0."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))

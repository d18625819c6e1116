"""Stage `probes`: how well a probe reads program states from hidden states.

The programs of the traces are executed on the world they were traced on, under
the semantics of the slice; each hidden state is paired with the world some
statements before or after it; probes are fitted on training, chosen on validation
and reported on test specifications. An intervention is this stage with another
`mapping`: the same hidden states, minibatches and initial weights, other labels. The
slices of alternatives ask for offset 0 only, where they are compared with the original.

Writes `predictions` (Arrow, a row per test state; columns and metadata below) and
`accuracy` (CSV, a row per source, offset, feature, depth and seed).

predictions.arrow: source int8 (0 generated, 1 forced), offset int8, program int32
(row in programs.arrow), statement int16, final bool (the program's last statement),
and for each feature f: label_f (heads) uint8; majority_f bool, whether the most
frequent training label is right; predicted_f (depths * seeds * heads) uint8, C order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from progsem import features
from progsem.artifacts import read_table, write_csv, write_table
from progsem.config import FEWEST_STATES, Probes
from progsem.hardware import choose_device, choose_precision
from progsem.job import Job
from progsem.karel.codes import MOVE, semantics
from progsem.karel.kernels import execute, trace
from progsem.probe_fit import TEST, TRAIN, VALIDATION, Fitted, States, fit
from progsem.progress import Progress

SOURCES = {"generated": "generated", "forced": "reference"}  # whose states: the column with their programs
FEWEST = dict(zip((TRAIN, VALIDATION, TEST), FEWEST_STATES.values(), strict=True))  # else a data set is left out
ACCURACY_COLUMNS = (
    "semantics,source,offset,feature,depth,seed,n_train,n_validation,n_test,classes,chosen_step,"
    "validation_accuracy,test_accuracy,majority_accuracy"
).split(",")


class Run(NamedTuple):
    """What N programs did, each on its world.

    `starts` and `ends` (N, 3) uint8 are the robot before and after the whole
    program (for one that does not halt: at the step limit). `actions` (N,) counts
    its action statements; for the k-th of them `poses` (N, K, 3) is the robot right
    after its first execution, `executed` (N, K) whether there was one.
    """

    cells: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    actions: np.ndarray
    poses: np.ndarray
    executed: np.ndarray


def run_programs(
    programs: np.ndarray, cells: np.ndarray, starts: np.ndarray, meanings: tuple[int, ...], step_limit: int
) -> Run:
    """Execute programs (N, L) uint8 on worlds (N, H, W), (N, 3) under a semantics."""
    steps = trace(programs, cells, starts, meanings, step_limit)
    _, ends, _ = execute(programs, cells[:, None], starts[:, None], meanings, step_limit)
    is_action = programs <= MOVE
    # A stable sort brings the actions to the front in order: column k is the k-th action.
    order = np.argsort(~is_action, axis=1, kind="stable")
    return Run(
        cells=cells,
        starts=starts,
        ends=ends[:, 0],
        actions=is_action.sum(1),
        poses=np.take_along_axis(steps.poses, order[:, :, None], 1),
        executed=np.take_along_axis(steps.executed, order, 1),
    )


def aligned(
    run: Run, program: np.ndarray, statement: np.ndarray, offset: int, drop_final: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pair hidden states with the statements whose outcome is asked about.

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


def run(job: Job) -> None:
    """Execute, align, fit, report.

    The slice holds `probes`, `semantics`, `mapping`, `programs.step_limit` and `lm.precision`.
    """
    torch.set_num_threads(job.threads)
    recipe: Probes = job.section("probes")
    programs, metadata = read_table(job.input("programs"))
    heads = features.heads(recipe.features, metadata["height"], metadata["width"])
    runs, tables, datasets, left_out = {}, {}, {}, []
    for source in recipe.sources:
        worlds = programs["cells"].reshape(-1, metadata["height"], metadata["width"])
        meanings, step_limit = semantics(job.slice["mapping"]), job.slice["programs"]["step_limit"]
        runs[source] = run_programs(programs[SOURCES[source]], worlds, programs["pose"], meanings, step_limit)
        tables[source], _ = read_table(job.input(source))
        for offset in recipe.offsets:
            states = labelled(runs[source], tables[source], programs["split"], source, offset, recipe)
            counts = {split: len(states.of(split)) for split in FEWEST}
            if all(counts[split] >= fewest for split, fewest in FEWEST.items()):
                datasets[source, offset] = states
            else:
                left_out.append({"source": source, "offset": offset, "states": list(counts.values())})
    device = choose_device(job.device)
    precision = choose_precision(job.section("lm").precision, device)
    progress = Progress(
        f"probes of {job.slice['semantics']}", len(datasets) * recipe.seeds * len(recipe.depths) * len(heads), "probes"
    )
    fitted = fit(list(datasets.values()), heads, recipe, device, precision, progress=progress.update)
    progress.close()
    rows, parts = [], []
    for ((source, offset), states), result in zip(datasets.items(), fitted, strict=True):
        rows += accuracies(states, result, heads, recipe, [job.slice["semantics"], source, offset])
        parts.append(predictions(states, result, heads, source, offset, runs[source], tables[source]))
    columns = parts or [empty_predictions(heads, recipe)]
    write_table(
        job.output("predictions"),
        {name: np.concatenate([part[name] for part in columns]) for name in columns[0]},
        {
            "depths": list(recipe.depths),
            "seeds": recipe.seeds,
            "features": {
                feature: {"heads": span.stop - span.start, "classes": [head.classes for head in heads[span]]}
                for feature, span in features.spans(heads).items()
            },
            "semantics": job.slice["semantics"],
            "step": metadata["step"],
            "seed": metadata["seed"],
        },
    )
    write_csv(job.output("accuracy"), ACCURACY_COLUMNS, rows)
    job.notes |= {
        "left_out": left_out,
        "device": device.type,
        "precision": str(precision).removeprefix("torch."),
    }


def labelled(run: Run, table: dict, split: np.ndarray, source: str, offset: int, recipe: Probes) -> States:
    """The data set of one source and offset; `split` (programs,) is that of each program."""
    states, target = aligned(run, table["program"], table["statement"], offset, recipe.drop_final)
    program = table["program"][states]
    return States(
        name=f"{source} {offset}",
        activations=table[recipe.layer],
        rows=states,
        labels=features.labels(
            recipe.features, run.cells[program], run.starts[program], run.ends[program], run.poses[program, target]
        ),
        split=split[program],
    )


def accuracies(states: States, fitted: Fitted, heads: list[features.Head], recipe: Probes, key: list) -> list[list]:
    """Rows of accuracy.csv for one data set, `key` being their semantics, source and offset.

    A feature is right where all its heads are. `chosen_step` lists its heads' steps,
    each chosen for itself, with `/` between.
    """
    counts = [len(states.of(split)) for split in (TRAIN, VALIDATION, TEST)]
    train, validation, test = (states.labels[states.of(split)] for split in (TRAIN, VALIDATION, TEST))
    rows = []
    for feature, span in features.spans(heads).items():
        majority = (test[:, span] == features.majority_label(train[:, span])).all(1).mean()
        classes = int(np.prod([head.classes for head in heads[span]]))
        for depth, name in enumerate(recipe.depths):
            for seed in range(recipe.seeds):
                chosen = "/".join(map(str, fitted.chosen_step[depth, seed, span]))
                right = [
                    (predicted[:, depth, seed, span] == labels[:, span]).all(1).mean()
                    for predicted, labels in ((fitted.validation, validation), (fitted.test, test))
                ]
                scores = [round(float(value), 6) for value in (*right, majority)]
                rows.append([*key, feature, name, seed, *counts, classes, chosen, *scores])
    return rows


def predictions(
    states: States, fitted: Fitted, heads: list[features.Head], source: str, offset: int, run: Run, table: dict
) -> dict[str, np.ndarray]:
    """Columns of predictions.arrow for the test states of one data set."""
    test, train = states.of(TEST), states.of(TRAIN)
    program, statement = table["program"][states.rows[test]], table["statement"][states.rows[test]]
    columns = {
        "source": np.full(len(test), list(SOURCES).index(source), np.int8),
        "offset": np.full(len(test), offset, np.int8),
        "program": program.astype(np.int32),
        "statement": statement.astype(np.int16),
        "final": statement == run.actions[program] - 1,
    }
    for feature, span in features.spans(heads).items():
        labels = states.labels[test, span]
        columns[f"label_{feature}"] = labels
        columns[f"majority_{feature}"] = (labels == features.majority_label(states.labels[train, span])).all(1)
        columns[f"predicted_{feature}"] = fitted.test[..., span].reshape(len(test), -1)
    return columns


def empty_predictions(heads: list[features.Head], recipe: Probes) -> dict[str, np.ndarray]:
    """The columns of predictions.arrow without a row, for a checkpoint that leaves nothing to probe."""
    types = {"source": np.int8, "offset": np.int8, "program": np.int32, "statement": np.int16, "final": np.bool_}
    columns = {name: np.empty(0, dtype) for name, dtype in types.items()}
    for feature, span in features.spans(heads).items():
        count = span.stop - span.start
        columns[f"label_{feature}"] = np.empty((0, count), np.uint8)
        columns[f"majority_{feature}"] = np.empty(0, np.bool_)
        columns[f"predicted_{feature}"] = np.empty((0, len(recipe.depths) * recipe.seeds * count), np.uint8)
    return columns

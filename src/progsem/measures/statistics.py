"""From traces and probe predictions to numbers with intervals.

What is reported, for each language model (LM seed) and checkpoint:

generative accuracy
    Share of test specifications whose greedily decoded program satisfies every
    shown world; strict: the held-out worlds as well; unconstrained: decoded
    without the grammar.
semantic content
    Mean over features of the probes' test accuracy at offset 0 under the
    original semantics, averaged over probe seeds. Raw, and corrected for the
    majority class feature by feature, (accuracy - majority) / (1 - majority).
alternatives
    The same under each alternative semantics, and the difference from the
    original, on the same programs.
baselines, layers
    What the same probes read from less than the hidden state, from the untrained
    model, and from every layer (`measures.baselines`).
positions
    Semantic content by place in the program, at the last checkpoint.
permutations
    Pairs of semantics that are each other's mirror image, at the last checkpoint.
generalisation
    Generative accuracy on specifications of other kinds than training's.

State sets (column `states`): `all`; `non_final`, without the state of each
program's last statement, because the world after the last statement of a
correct program stands in the text; `differing` (pairs of semantics only), for
each feature only the states whose label differs under the two.

Intervals come from resampled test programs, with the same draws everywhere, so
that semantics, depths and checkpoints are paired, and from the spread of probe
seeds (fits differ by as much as the semantics do), see `measures.bootstrap`. With
several LM seeds there are `pooled` rows beside theirs: the mean over LM seeds, with
their spread in place of the probe seeds'; a checkpoint that one of them lacks has
none. Early checkpoints that write too little to probe are left empty.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from progsem.measures import gallery, viewer
from progsem.measures.baselines import baseline_rows, measure_controls
from progsem.measures.columns import TABLES
from progsem.measures.draws import program_draws
from progsem.measures.generation import mean_of_counts
from progsem.measures.permutations import measure_pairs, permutation_rows
from progsem.measures.positions import measure_positions, position_rows
from progsem.measures.results import (
    Settings,
    count_training_lengths,
    find_checkpoints,
    find_generalisation,
    training_rows,
)
from progsem.measures.study import measure, measure_step
from progsem.measures.summary import summary
from progsem.measures.training import regression_rows
from progsem.measures.transfer import generalisation_rows
from progsem.measures.writing import write_rows
from progsem.storage.files import canonical_json, read_json, replacing, write_json


def run(job) -> None:
    """Compute every statistic of a study and write the tables, `summary.json`, `gallery.json` and `viewer.json`.

    Checkpoints are measured by as many threads as the job has; what they work on lets others run.
    """
    settings = Settings.of(job)
    with ThreadPoolExecutor(job.threads) as workers:
        drawing = workers.submit(program_draws, settings)
        checkpoints, generalisation = find_checkpoints(job, settings), find_generalisation(job, settings)
        shown = workers.submit(viewer.choose, checkpoints, settings)
        chosen = workers.submit(gallery.choose, checkpoints, settings)
        training = training_rows(job.inputs["metrics"], settings)
        training_lengths = count_training_lengths(job.inputs["corpus"])
        mean_length = mean_of_counts(training_lengths)
        steps = [[one for one in checkpoints if one.step == step] for step in settings.lm.checkpoints()]
        draws = drawing.result()
        # What takes longest first; the rows of the checkpoints are made while the workers do the rest.
        controls = measure_controls(checkpoints, settings, draws, workers)
        measured = workers.map(lambda here: measure_step(here, settings, draws, mean_length), steps)
        positions = measure_positions(checkpoints, settings, draws, workers)
        pairs = measure_pairs(checkpoints, settings, draws, workers)
        transferred = workers.submit(generalisation_rows, checkpoints, generalisation, settings, draws)
        results = measure(measured, settings, training, training_lengths)
        results["training"] = training
        results["regression"] = regression_rows(results, settings)
        written = [name for name in TABLES if name in results]
        for name in written:
            write_rows(job.output(name), TABLES[name], results[name])
        results["baselines"], results["layers"] = baseline_rows(controls, settings, results)
        results["positions"] = position_rows(positions, settings)
        results["permutations"] = permutation_rows(pairs, settings, results)
        results["generalisation"] = transferred.result()
        for name in TABLES:
            if name not in written:
                write_rows(job.output(name), TABLES[name], results[name])
        write_json(job.output("gallery"), chosen.result())
        with replacing(job.output("viewer")) as temporary:  # many small numbers: indented it is six times as large
            temporary.write_text(canonical_json(shown.result()), encoding="utf-8")
    write_json(job.output("summary"), summary(results, settings, wall_seconds(job.inputs["manifests"])))
    job.notes["checkpoints"] = len(checkpoints)


def wall_seconds(manifests: list[Path]) -> dict[str, float]:
    """Seconds that the jobs of each stage took, summed."""
    seconds: dict[str, float] = {}
    for path in manifests:
        manifest = read_json(path)
        seconds[manifest["stage"]] = seconds.get(manifest["stage"], 0.0) + manifest["seconds"]
    return {stage: round(total, 1) for stage, total in sorted(seconds.items())}

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
    model, and from every layer (`measures.controls`).
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
that semantics, depths and checkpoints are paired, and from the dispersion of probe
seeds (fits differ by as much as the semantics do), see `measures.intervals`. With
several LM seeds there are `pooled` rows beside theirs: the mean over LM seeds, with
their dispersion in place of the probe seeds'; a checkpoint that one of them lacks has
none. Early checkpoints that write too little to probe are left empty.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from threadpoolctl import threadpool_limits

from progsem.measures import gallery, viewer
from progsem.measures.analysis import Analysis
from progsem.measures.features import Features
from progsem.measures.summary import summary
from progsem.measures.synthesis import seconds_per_solution
from progsem.measures.tables import TABLES
from progsem.measures.writing import plain, write_rows
from progsem.storage.files import canonical_json, read_json, replacing, write_json


def run(job) -> None:
    """Compute every statistic of a study and write the tables, `summary.json`, `gallery.json` and `viewer.json`.

    Checkpoints are measured side by side, by as many threads as the job has, so that a matrix product has one.
    """
    with threadpool_limits(1), ThreadPoolExecutor(job.threads) as workers:
        analysis = Analysis.of(job, workers)
        for name, table in TABLES.items():
            write_rows(job.output(name), table.columns, analysis.rows(name))
    made = {
        "sizes": sizes(job.inputs["manifests"], analysis.settings.train_length[1]),
        "wall_seconds": wall_seconds(job.inputs["manifests"]),
        "seconds_per_solution": seconds_per_solution(job.inputs["manifests"]),
    }
    write_json(job.output("summary"), summary(analysis) | made)
    features = Features(analysis)
    chosen = gallery.choose(analysis.checkpoints, analysis.settings) | {"features": features.examples()}
    write_json(job.output("gallery"), plain(chosen))
    shown = viewer.choose(analysis.checkpoints, analysis.settings)
    shown["sparse"] = features.beside([one["specification"] for one in shown["specifications"]])
    with replacing(job.output("viewer")) as temporary:  # many small numbers: indented it is six times as large
        temporary.write_text(canonical_json(shown), encoding="utf-8")
    job.notes["checkpoints"] = len(analysis.checkpoints)


def sizes(manifests: list[Path], statements: int) -> dict[str, int | None]:
    """Parameters of the language model, as its training has counted them, and statements of the longest program."""
    trained = (manifest for manifest in map(read_json, manifests) if manifest["stage"] == "train")
    counted = (manifest.get("notes", {}).get("parameters") for manifest in trained)
    return {"parameters": next(counted, None), "statements": statements}


def wall_seconds(manifests: list[Path]) -> dict[str, float]:
    """Seconds that the jobs of each stage took, summed."""
    seconds: dict[str, float] = {}
    for path in manifests:
        manifest = read_json(path)
        seconds[manifest["stage"]] = seconds.get(manifest["stage"], 0.0) + manifest["seconds"]
    return {stage: round(total, 1) for stage, total in sorted(seconds.items())}

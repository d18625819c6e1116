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

State sets (column `states`): `all`; `non_final`, without the state of each
program's last statement, because the world after the last statement of a
correct program stands in the text; `differing` (pairs of semantics only), for
each feature only the states whose label differs under the two.

Intervals are percentile bootstraps that resample test programs and probe seeds
(fits differ by as much as the semantics do), with the same draws everywhere, so
that semantics, depths and checkpoints are paired. With
several LM seeds there are `pooled` rows beside theirs: the mean over LM seeds,
with LM seeds resampled as well; a checkpoint that one of them lacks has none.
Early checkpoints that write too little to probe are left empty.
"""

from __future__ import annotations

from pathlib import Path

from progsem.artifacts import read_json, write_json
from progsem.measures import gallery
from progsem.measures.columns import TABLES
from progsem.measures.results import Settings, count_training_lengths, find_checkpoints, training_rows
from progsem.measures.study import measure
from progsem.measures.summary import summary
from progsem.measures.training import regression_rows
from progsem.measures.writing import write_rows


def run(job) -> None:
    """Compute every statistic of a study and write the tables, `summary.json` and `gallery.json`."""
    settings = Settings.of(job)
    checkpoints = find_checkpoints(job, settings)
    training = training_rows(job.inputs["metrics"], settings)
    training_lengths = count_training_lengths(job.inputs["corpus"])
    results = measure(checkpoints, settings, training, training_lengths)
    results["training"] = training
    results["regression"] = regression_rows(results, settings)
    for name in TABLES:
        write_rows(job.output(name), TABLES[name], results[name])
    write_json(job.output("gallery"), gallery.choose(checkpoints, settings))
    write_json(job.output("summary"), summary(results, settings, wall_seconds(job.inputs["manifests"])))
    job.notes["checkpoints"] = len(checkpoints)


def wall_seconds(manifests: list[Path]) -> dict[str, float]:
    """Seconds that the jobs of each stage took, summed."""
    seconds: dict[str, float] = {}
    for path in manifests:
        manifest = read_json(path)
        seconds[manifest["stage"]] = seconds.get(manifest["stage"], 0.0) + manifest["seconds"]
    return {stage: round(total, 1) for stage, total in sorted(seconds.items())}

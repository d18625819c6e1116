"""Stage `generalisation`: what the last checkpoint writes for specifications of a kind that it was not trained on.

The sets of `generalisation.sets` have longer or shorter programs than the training, or
worlds of another size; none of their specifications can stand in the training data. Each
is drawn as the corpus is, no specification twice, from a stream of random numbers that is
fixed by the set's name. Programs are decoded greedily under the grammar and judged as in
the traces. The outputs of the examples are always shown, whatever `traces.outputs` says:
without them nobody could write the program.

Writes `programs` (Arrow, a row per specification; columns in `progsem.storage.columns`).
Metadata: sets (names); shapes (by name: length, the shortest and longest program, height,
width); seed and step of the language model.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from progsem.data.corpus import Shard, distinct, sampler
from progsem.data.encodings import Encoding
from progsem.hardware import choose_device
from progsem.jobs.job import Job
from progsem.jobs.progress import Progress
from progsem.languages import LANGUAGE
from progsem.lm import model as lm
from progsem.lm.traces import Tracer, satisfied, whole_programs
from progsem.storage.files import write_table
from progsem.study.vocabulary import SPLITS


def set_jobs(job: Job) -> dict[str, Job]:
    """By name of each set: the job whose slice has the worlds and programs of that set in place of training's.

    The slice says of each set `length`, the shortest and longest program, and how large its worlds are.
    """
    jobs = {}
    for name, kind in sorted(job.slice["generalisation"]["sets"].items()):
        worlds = job.slice["worlds"] | {side: size for side, size in kind.items() if side != "length"}
        programs = job.slice["programs"] | {"train_length": kind["length"], "test_length": kind["length"]}
        jobs[name] = replace(job, slice=job.slice | {"worlds": worlds, "programs": programs})
    return jobs


def specifications(job: Job, name: str) -> Iterator[Shard]:
    """The specifications of one set, drawn and executed, `job.batch` at a time; the same ones whatever the batch."""
    programs, wanted = job.section("programs"), job.slice["generalisation"]["test"]
    source = sampler(job, len(SPLITS) + zlib.crc32(name.encode()), programs.train_length)
    taken = np.empty(0, np.uint64)
    for first in range(0, wanted, job.batch):
        shard = Shard(source, first, min(job.batch, wanted - first), programs.step_limit, f"generalisation.sets.{name}")
        taken = distinct(shard, taken)
        yield shard


def solve(tracer: Tracer, encoding: Encoding, shard: Shard, examples: int, step_limit: int) -> dict[str, np.ndarray]:
    """Let the model write programs for specifications, and judge them: columns of programs.arrow.

    examples: how many worlds of a specification are shown; step_limit: executed actions and tests.
    """
    shown = (part.at(np.s_[:, :examples]) for part in (shard.worlds, shard.outputs))
    written = tracer.write(encoding.prompts(*map(LANGUAGE.text.glyphs, shown)))
    generated = whole_programs(written)
    right = satisfied(generated, shard.worlds, shard.outputs, step_limit) & written.finished[:, None]
    shown = right[:, :examples].all(axis=1)
    return {
        "reference": shard.programs,
        "generated": generated,
        "generated_finished": written.finished,
        "correct_shown": shown,
        "correct_all": right.all(axis=1),
        "unconstrained_parses": written.parses_freely,
        "unconstrained_correct": written.parses_freely & shown,
    }


def run(job: Job) -> None:
    """Write programs.arrow, the sets one behind the other."""
    torch.set_num_threads(job.threads)
    device = choose_device(job.device)
    model = lm.load(job.input("weights"), job.input("config"), device).eval()
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    examples, step_limit = job.section("corpus").examples, job.section("programs").step_limit
    jobs = set_jobs(job)
    progress = Progress(
        f"generalisation of seed {job.slice['seed']}",
        len(jobs) * job.slice["generalisation"]["test"],
        "specifications",
    )
    parts = []
    for number, (name, one) in enumerate(jobs.items()):
        tracer = Tracer(model, encoding, one)
        for shard in specifications(one, name):
            solved = solve(tracer, encoding, shard, examples, step_limit)
            parts.append({"set": np.full(len(shard.programs), number, np.int8)} | solved)
            progress.update(len(shard.programs))
    progress.close()
    columns = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    metadata = {
        "sets": list(jobs),
        "shapes": job.slice["generalisation"]["sets"],
        "seed": job.slice["seed"],
        "step": job.slice["step"],
    }
    write_table(job.output("programs"), columns, metadata, "generalisation")
    job.notes["generative_accuracy"] = {
        name: round(float(columns["correct_shown"][columns["set"] == number].mean()), 6)
        for number, name in enumerate(jobs)
    }


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Columns of several batches as one; programs (N, L) of different widths are filled up."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    pad = LANGUAGE.codes.PAD
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=pad) for part in parts])

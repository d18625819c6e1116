"""Stage `writers`: programs that cheap writers propose for test specifications (`synthesis.plain`).

Writes `proposals` (see `synthesis.judging`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm.traces import Specifications
from progsem.study.vocabulary import SPLITS, TEST, TRAIN
from progsem.synthesis import plain
from progsem.synthesis.judging import Propose, Writer, judge

_LEARNED_FROM = 20_000  # training programs


def writers(job: Job, specifications: Specifications) -> Iterator[tuple[Writer, Propose]]:
    """Every writer without a model that is asked for."""
    config, programs = job.section("synthesis"), job.section("programs")
    codes = LANGUAGE.codes.most_codes(programs, job.section("traces").extra_statements)
    depth = programs.max_depth if programs.control_flow > 0 else 0
    shown, count = _shown(specifications), config.samples

    def drawing(drawn: plain.Drawn) -> Propose:
        return lambda row: drawn.propose(shown[row], count, (config.seed, row))

    if "uniform" in config.writers:
        yield Writer("uniform"), drawing(plain.Uniform(codes, depth))
    if {"corpus", "unigram", "bigram"} & set(config.writers):
        training = Specifications(job.inputs, {SPLITS[TRAIN]: _LEARNED_FROM})
        if "corpus" in config.writers:
            yield (
                Writer("corpus"),
                lambda row: plain.drawn_from(training.programs, codes, count, (config.seed, row)),
            )
        for name in ("unigram", "bigram"):
            if name in config.writers:
                learned = plain.Learned(codes, depth, _shown(training), training.programs, name == "bigram")
                yield Writer(name), drawing(learned)
    if "enumeration" in config.writers:
        every = plain.enumerated(codes, depth, count)
        yield Writer("enumeration", independent=False), lambda row: every


def _shown(specifications: Specifications) -> np.ndarray:
    """(N, G): the glyphs of every world in the text, inputs and outputs."""
    parts = (part.at(specifications.shown) for part in (specifications.worlds, specifications.outputs))
    return np.concatenate([LANGUAGE.text.glyphs(part).reshape(len(specifications), -1) for part in parts], axis=1)


def run(job: Job) -> None:
    """Let every writer propose programs for the first test specifications."""
    specifications = Specifications(job.inputs, {SPLITS[TEST]: job.section("synthesis").test})
    judge(job, dict(writers(job, specifications)), specifications, "programs of plain writers")

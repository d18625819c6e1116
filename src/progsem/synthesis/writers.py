"""Stage `writers`: programs that cheap writers propose for test specifications (`synthesis.plain`).

Writes `proposals` (see `synthesis.judging`).
"""

from __future__ import annotations

from collections.abc import Iterator

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
    depth = programs.depth
    in_text, count = _in_text(specifications), config.samples
    shown = LANGUAGE.writers.described(*in_text)

    def drawing(drawn: plain.Drawn) -> Propose:
        return lambda row: drawn.propose(shown[row], count, (config.seed, row))

    if "uniform" in config.writers:
        yield Writer("uniform"), drawing(plain.Uniform(codes, depth))
    if {"corpus", "unigram", "bigram"} & set(config.writers):
        training = Specifications.read(job.inputs, {SPLITS[TRAIN]: _LEARNED_FROM})
        if "corpus" in config.writers:
            yield (
                Writer("corpus"),
                lambda row: plain.drawn_from(training.programs, codes, count, (config.seed, row)),
            )
        for name in ("unigram", "bigram"):
            if name in config.writers:
                described = LANGUAGE.writers.described(*_in_text(training))
                learned = plain.Learned(codes, depth, described, training.programs, name == "bigram")
                yield Writer(name), drawing(learned)
    if "enumeration" in config.writers:
        every = plain.enumerated(codes, depth, count)
        yield Writer("enumeration", independent=False), lambda row: every
    for name in filter(LANGUAGE.writers.WRITERS.get, config.writers):
        yield Writer(name), plain.of_language(name, *in_text, codes, count, config.seed)


def _in_text(specifications: Specifications) -> tuple:
    """Inputs and outputs (N, K) that stand in the text."""
    return tuple(part.at(specifications.shown) for part in (specifications.worlds, specifications.outputs))


def run(job: Job) -> None:
    """Let every writer propose programs for the first test specifications."""
    specifications = Specifications.read(job.inputs, {SPLITS[TEST]: job.section("synthesis").test})
    judge(job, dict(writers(job, specifications)), specifications, "programs of plain writers")

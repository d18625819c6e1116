"""Stage `synthesis`: programs that a checkpoint proposes for test specifications, by several ways of decoding.

greedy         the likeliest next token each time: one program
temperature    samples of the model's distribution, sharpened or flattened; 1 is what it has learned
top_p          samples of the likeliest tokens that together have this share (Holtzman et al. 2020)
beam           the likeliest programs that a beam search of this width finds

Each with the grammar, by which only legal tokens are chosen from, and without, where what does not parse is no program.
Writes `proposals` (see `synthesis.judging`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from progsem.hardware import choose_device, choose_precision
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm import model as lm
from progsem.lm.traces import Specifications
from progsem.study.sections import Synthesis
from progsem.study.vocabulary import SPLITS, TEST
from progsem.synthesis.judging import Propose, Writer, judge
from progsem.synthesis.sampling import Proposer


def writers(config: Synthesis, proposer: Proposer, prompts) -> Iterator[tuple[Writer, Propose]]:
    """Every way of decoding that is asked for; `prompts(row)` are the ids (P,) of a specification."""
    for grammar in config.grammar:
        if "greedy" in config.writers:
            yield (
                Writer("greedy", grammar=grammar, independent=False),
                lambda row, grammar=grammar: proposer.greedy(prompts(row), grammar),
            )
        sampled = [("temperature", value, 1.0) for value in config.temperatures if "temperature" in config.writers]
        sampled += [("top_p", 1.0, value) for value in config.top_p if "top_p" in config.writers]
        for name, temperature, top_p in sampled:
            yield (
                Writer(name, temperature if name == "temperature" else top_p, grammar),
                lambda row, temperature=temperature, top_p=top_p, grammar=grammar: proposer.samples(
                    prompts(row), config.samples, (config.seed, row), temperature, top_p, grammar
                ),
            )
        for width in config.budgets if "beam" in config.writers else ():
            yield (
                Writer("beam", width, grammar, independent=False),
                lambda row, width=width, grammar=grammar: proposer.beams(prompts(row), width, grammar),
            )


def run(job: Job) -> None:
    """Let one checkpoint propose programs for the first test specifications."""
    torch.set_num_threads(job.threads)
    device = choose_device(job.device)
    config, programs = job.section("synthesis"), job.section("programs")
    model = lm.load(job.input("weights"), job.input("config"), device).eval()
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    specifications = Specifications.read(job.inputs, {SPLITS[TEST]: config.test})
    codes = LANGUAGE.codes.most_codes(programs, job.section("traces").extra_statements)
    inference = model.inference(choose_precision(job.section("lm").precision, device))
    proposer = Proposer(inference, encoding, codes, programs.depth)
    asked = dict(writers(config, proposer, lambda row: specifications.prompts(encoding, slice(row, row + 1))[0]))
    what = f"programs of seed {job.slice['seed']}, step {job.slice['step']}"
    judge(job, asked, specifications, what, seed=job.slice["seed"], step=job.slice["step"])

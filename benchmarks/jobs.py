"""Stages `job_start`, `job_start_torch`, what it costs that a job is a process of its own, and `dag`, to plan the jobs.

A start is that of a whole job of the tiny study that has next to nothing to do, as
the workflow calls it: until it ends, so a little more than until it begins.
"""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import ROOT, Row, in_turn, study
from progsem.study.plan import Plan

ROUNDS = 3
PLANNED = 2  # rounds of planning, which takes seconds
UNIT = "language models"
GROWTH = (1, 2, 5)
# What scripts begin with that have all they might need at hand.
EAGER = "import torch, transformers; from transformers import AutoTokenizer, CodeGenForCausalLM; "
JOB = "import sys; from progsem.__main__ import main; sys.argv[0] = 'progsem'; main()"
SNAKEMAKE = "import sys; from snakemake.cli import main; sys.argv[0] = 'snakemake'; main()"


def grow(size: int) -> float:
    """Seconds that it takes to plan the paper's study with so many language models."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        _python(SNAKEMAKE, *_planning("--config", f"lm={{seeds: {list(range(size))}}}"), folder=folder)
        return time.perf_counter() - started


def measure() -> list[Row]:
    """Rows `job_start`, `job_start_torch` and `dag`."""
    return [*_starts(), _dag()]


def _starts() -> list[Row]:
    plan = Plan(study("tiny", {}))
    corpus = _job(plan.corpus, "corpus", plan.corpus.slice(), {}, _shards(plan, plan.corpus))
    tokenizer = {name: [plan.tokens.file(f"tokenizer/{name}.json")] for name in ("tokenizer", "tokenizer_config")}
    tokens = _job(
        plan.tokens, "tokens", plan.tokens.slice(), _shards(plan, plan.corpus), _shards(plan, plan.tokens) | tokenizer
    )
    untrained = plan.lm.checkpoint_file("").format(seed=0, step="000000")
    train = _job(
        plan.lm,
        "train",
        plan.training_slice("0", "000000"),
        {"train": plan.shards(plan.tokens, "train"), **tokenizer, "model": [], "config": [], "state": []},
        {
            "weights": [f"{untrained}model.safetensors"],
            **{
                name: [f"{untrained}{name}.json"]
                for name in ("config", "generation_config", "tokenizer", "tokenizer_config")
            },
            "metrics": [f"{untrained}metrics.csv"],
            "state": [f"{untrained}state.safetensors"],
        },
        untrained,
    )
    with tempfile.TemporaryDirectory() as folder:
        for job in (corpus, tokens, train):  # what they need, and everything compiled
            _python(JOB, *job, folder=folder)
        seconds = in_turn(
            ROUNDS,
            light=lambda: _python(JOB, *tokens, folder=folder),
            light_eager=lambda: _python(EAGER + JOB, *tokens, folder=folder),
            light_limit=lambda: _python("import numba, pyarrow, tokenizers", folder=folder),
            torch=lambda: _python(JOB, *train, folder=folder),
            torch_eager=lambda: _python(EAGER + JOB, *train, folder=folder),
            torch_limit=lambda: _python("import torch", folder=folder),
        )
    took = {name: statistics.median(each) for name, each in seconds.items()}
    eager = "the same, had it imported torch and transformers' CodeGen first, as scripts do"
    return [
        Row(
            stage="job_start",
            work="a job without torch from start to end: 2 400 documents of the tiny study into tokens",
            unit="s",
            ours=took["light"],
            baseline=took["light_eager"],
            baseline_work=eager,
            limit=took["light_limit"],
            limit_work="Python that imports numba, pyarrow and tokenizers, and ends",
            reach=1,
            reach_of="ours",
        ),
        Row(
            stage="job_start_torch",
            work="a job with torch from start to end: the untrained model of the tiny study",
            unit="s",
            ours=took["torch"],
            baseline=took["torch_eager"],
            baseline_work=eager,
            limit=took["torch_limit"],
            limit_work="Python that imports torch, and ends",
            reach=3,
            reach_of="ours",
        ),
    ]


def _dag() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "Snakefile"
        empty.write_text("rule all:\n", encoding="utf-8")
        seconds = in_turn(
            PLANNED,
            ours=lambda: _python(SNAKEMAKE, *_planning(), folder=folder),
            eager=lambda: _python(EAGER + SNAKEMAKE, *_planning(), folder=folder),
            empty=lambda: _python(SNAKEMAKE, "-n", "--quiet", "all", "-s", empty, folder=folder),
        )
    jobs = sum(len(names) for names in Plan(study("paper", {})).jobs().values())
    return Row(
        stage="dag",
        work=f"snakemake -n of the paper's study, {jobs} jobs",
        unit="s",
        ours=statistics.median(seconds["ours"]),
        baseline=statistics.median(seconds["eager"]),
        baseline_work="the same, had the Snakefile imported torch and transformers, as one that imports its stages",
        limit=statistics.median(seconds["empty"]),
        limit_work="snakemake -n of a Snakefile with one empty rule",
        reach=10,
        reach_of="ours",
    )


def _planning(*more: str) -> list[str]:
    """Arguments of `snakemake` that plan the paper's study in an empty folder."""
    snakefile, paper = str(ROOT / "Snakefile"), str(ROOT / "studies/paper.yaml")
    return ["-n", "--quiet", "all", "-s", snakefile, "--configfile", paper, *more]


def _shards(plan: Plan, artifact) -> dict[str, list[str]]:
    return {split: plan.shards(artifact, split) for split in ("train", "validation", "test")}


def _job(artifact, stage: str, slice_: str, inputs: dict, outputs: dict, folder: str | None = None) -> list[str]:
    """Arguments of `python -m progsem`, as the workflow gives them; the manifest is in `folder`."""
    outputs = outputs | {"manifest": [f"{folder or artifact.folder + '/'}manifest.json"]}
    arguments = [stage, "--slice", slice_]
    for option, named in (("--input", inputs), ("--output", outputs)):
        for name, paths in named.items():
            arguments += [option, name, *paths]
    return arguments


def _python(code: str, *arguments: str, folder: str) -> None:
    """Run Python code in a folder; RuntimeError with what it said where that fails."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(map(str, arguments))[:200]}…: {done.stdout[-2000:]}")

"""What the paper's study costs on one GPU: `python -m benchmarks.costs`, from results/bench.json and the config.

Measured: stages without tensors, at the rates of `make bench`. Arithmetic: the
others, as operations over a device's published peak, times a share of it that is
assumed; beside it, times the share of its own peak that this CPU reached with the
small shapes of the default study. docs/costs.md says more.
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path

from benchmarks.common import study
from progsem.errors import UserError
from progsem.languages.karel import features
from progsem.languages.karel.text import Compact
from progsem.stages import RESULTS
from progsem.storage.files import read_json
from progsem.storage.inventory import BENCHMARK, duration
from progsem.study.config import Study
from progsem.study.plan import Plan

PEAKS = {"A100": 312e12, "H200": 989e12}  # dense bfloat16 operations a second, as NVIDIA publishes them
ASSUMED = {"training": 0.4, "traces": 0.4, "probes": 0.2}  # share of the peak
AUTHORS = 8 * 86_400  # seconds, on one A100 of 80 GB
RESAMPLES = 10_000  # of the benchmark of the statistics


class Work:
    """How much of everything a study has. An operation is one of floating-point numbers, a multiplication or a sum."""

    def __init__(self, of: Study):
        corpus, lm, plan = of.corpus, of.lm, Plan(of)
        compact = Compact()
        self.prompt = len(compact.head) + 2 * corpus.examples * of.worlds.height * of.worlds.width + len(compact.begin)
        self.statements = sum(of.programs.train_length) / 2  # of a training program, on average
        self.tested = sum(of.programs.test_length) / 2
        document = self.prompt + self.statements + 2  # closing brace and end
        self.checkpoints = len(plan.checkpoints(plan.traces))
        self.jobs = sum(len(names) for names in plan.jobs().values())
        self.programs = corpus.train + corpus.held_apart
        self.tokens = corpus.train * document + corpus.held_apart * (self.prompt + self.tested + 2)
        self.weights = 12 * lm.layers * lm.width**2
        # Of T positions one sees T / 2 on average, in two products of 2 operations a number each.
        self.forward = 2 * self.weights + 2 * lm.layers * lm.width * document
        self.trained = lm.steps * lm.batch * document
        # A backward pass is twice a forward pass.
        self.training = 3 * self.forward * self.trained
        self.traced = self.checkpoints * (of.traces.train + of.traces.validation + of.traces.test)
        # The prompt once, the program that is written, and the one that is given.
        self.traces = self.forward * self.traced * (self.prompt + self.tested + self.statements + 2)
        compared = len(of.interventions.alternatives) * len(of.interventions.offsets)
        self.sets = self.checkpoints * len(of.probes.sources) * (len(of.probes.offsets) + compared)
        depths = of.probes.depths.values()
        self.fits = self.sets * len(of.probes.features) * len(depths) * of.probes.seeds
        passes = 3 * of.probes.batch * of.probes.steps + of.probes.evaluations * of.traces.validation * self.tested
        self.probes = self.sets * 2 * passes * of.probes.seeds * sum(_weights(of, hidden) for hidden in depths)
        self.answers = self.fits * of.traces.test * self.tested


def _weights(of: Study, hidden: tuple[int, ...]) -> int:
    """Weights of one probe of each feature, with these hidden widths."""
    heads = features.heads(of.probes.features, of.worlds.model_dump())
    shared = sum(one * other for one, other in pairwise([of.lm.width, *hidden]))
    last = [of.lm.width, *hidden][-1]
    return len(of.probes.features) * shared + last * sum(head.classes for head in heads)


def rows(bench: dict[str, dict]) -> list[tuple]:
    """Stage, work, what the times rest on, then seconds on each device; `bench` are the entries by stage.

    Behind the stages: all of them at the assumed shares, all at this CPU's, and what the authors needed.
    """
    paper, default = Work(study("paper", {})), Work(study(None, {}))
    resamples = study("paper", {}).statistics.resamples / RESAMPLES

    def rate(stage: str) -> str:
        return f"{bench[stage]['ours']:,.0f} {bench[stage]['unit']}, measured"

    statistics, start = bench["statistics"]["ours"], bench["job_start_torch"]["ours"]
    on_cpu = [
        ("corpus", f"{paper.programs:,} programs", rate("corpus"), paper.programs / bench["corpus"]["ours"]),
        ("tokens", f"{paper.tokens:,.0f} tokens", rate("tokens"), paper.tokens / bench["tokens"]["ours"]),
        (
            "statistics",
            f"{paper.answers:,.0f} answers of probes",
            f"{statistics:.2g} s for {default.answers:,.0f} and {RESAMPLES:,} resamples, measured; in proportion",
            statistics * resamples * paper.answers / default.answers,
        ),
        ("starting jobs", f"{paper.jobs} jobs", f"{start:.2g} s each, measured, on a CPU", start * paper.jobs),
    ]
    measured = [(*said, *[seconds] * len(PEAKS)) for *said, seconds in on_cpu]
    whats = {
        "training": (f"{paper.trained:,.0f} tokens", paper.training),
        "traces": (f"{paper.traced:,} specifications", paper.traces),
        "probes": (f"{paper.fits:,} fits", paper.probes),
    }

    def computed(shares: dict[str, float], how: str) -> list[tuple]:
        return [
            (
                stage,
                f"{what}, {operations:.2g} operations",
                f"{shares[stage]:.0%} of the peak, {how}",
                *(operations / peak / shares[stage] for peak in PEAKS.values()),
            )
            for stage, (what, operations) in whats.items()
        ]

    assumed = computed(ASSUMED, "assumed")
    seen = computed({stage: bench[stage]["limit_fraction"] for stage in whats}, "as the default study on this CPU")

    def total(what: str, parts: list[tuple]) -> tuple:
        return "all", "", what, *(sum(row[3 + n] for row in parts) for n in range(len(PEAKS)))

    return [
        *measured,
        *assumed,
        *seen,
        total("at the assumed shares", [*measured, *assumed]),
        total("at the shares of this CPU", [*measured, *seen]),
        ("the authors", "", "as they say, one A100 of 80 GB", AUTHORS, math.nan),
    ]


def main() -> None:
    """Print the table; `UserError` where `make bench` has not been run."""
    path = Path(RESULTS) / BENCHMARK
    if not path.exists():
        raise UserError(f"{path} is not there; run `make bench` first")
    print(f"| stage | work | rests on | {' | '.join(PEAKS)} |\n|---|---|---|{'---|' * len(PEAKS)}")
    for stage, what, rests, *seconds in rows({entry["stage"]: entry for entry in read_json(path)}):
        times = ["" if math.isnan(one) else duration(math.ceil(one)) for one in seconds]
        print(f"| {stage} | {what} | {rests} | {' | '.join(times)} |")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"benchmarks: {error}")

"""How long a study takes on this machine: seconds of each job that is still to run, and of all of them on its cores.

A job takes a time to start, and for its operations (`progsem.study.work`) as long as this machine needs at its rate
(`progsem.study.rates`) times an efficiency, by which the job differs from what is measured. `COSTS` holds both by
stage, from the processor's time of the pilot study's jobs (docs/benchmarks.md, Forecast).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from progsem.errors import UserError
from progsem.storage.inventory import Unit, duration
from progsem.study.config import Study
from progsem.study.plan import Plan
from progsem.study.rates import measured
from progsem.study.work import of_unit

_LITTLE = 1e12  # operations: jobs that do no more together take as long as they take to start
_SLOW = dict.fromkeys(("training", "probing", "resampling"), 5e10)  # operations a second, for these


class Cost(NamedTuple):
    """Of a job: seconds until it computes and after; which rate, by name, counts for it; and how much of that it gets.

    Without the name of a rate, `share` is how many programs it does a second.
    """

    start: float
    rate: str = ""
    share: float = 1


COSTS = {
    "corpus": Cost(5, share=1_000_000),
    "tokens": Cost(1, share=1_000_000),
    "sequences": Cost(3, share=200_000),
    "warmup": Cost(2.6, "training", 0.88),
    "lm": Cost(2.6, "training", 0.88),
    "traces": Cost(2.5, "training", 0.55),
    "probes": Cost(2.2, "probing", 0.57),
    "interventions": Cost(2.2, "probing", 0.57),
    "controls": Cost(3, "probing", 0.74),
    "edits": Cost(2.5, "probing", 0.5),
    "transcoders": Cost(4, "probing", 0.4),
    "generalisation": Cost(2.5, "training", 0.55),
    "synthesis": Cost(2.5, "training", 0.2),
    "writers": Cost(5, share=20_000),
    "finetuning": Cost(8, "training", 0.5),
    "pretrained": Cost(6, "training", 0.2),
    "statistics": Cost(5, "resampling", 0.03),
    "playground": Cost(4),
    "figures": Cost(8),
}
_MINUTE = 60
_MEASURED = ("model_type", "config", "layers", "width", "heads", "precision")  # what the rate of training depends on
_ALONE = ("corpus", "tokens", "sequences", "statistics", "figures")  # stages beside whose jobs no other runs
_PRETRAINED = ("finetuning", "pretrained")  # a job each, one behind the other


def seconds(plan: Plan, units: Iterable[Unit]) -> dict[Unit, float] | None:
    """What each of these jobs will take; None where they compute on a GPU.

    Raises `UserError` where the machine's rate cannot be measured.
    """
    if _on_gpu(plan.study):
        return None
    found: dict[Unit, float] = {}
    wanted, known = set(units), {}  # the second: rates by what they depend on
    for one in plan.whole():
        operations = {unit: of_unit(one, unit) for unit in one.own_units() if unit in wanted and unit not in found}
        heavy = sum(count for unit, count in operations.items() if COSTS[unit.stage].rate)
        rates = _SLOW
        if heavy > _LITTLE:
            alike = json.dumps({name: getattr(one.study.lm, name) for name in _MEASURED})
            if alike not in known:
                known[alike] = measured(one.study)
            rates = known[alike]
        for unit, count in operations.items():
            start, rate, share = COSTS[unit.stage]
            found[unit] = start + count / (rates.get(rate, 1) * share * plan.study.compute.threads)
    return found


def seconds_or_line(plan: Plan, units: Iterable[Unit]) -> dict[Unit, float] | None:
    """As `seconds`; where the machine cannot be measured, None and a line on stderr that says why."""
    try:
        return seconds(plan, units)
    except UserError as error:
        print(f"progsem: no forecast: {error}", file=sys.stderr)
        return None


def rounded(time: float) -> str:
    """Seconds as minutes, of which a forecast knows no fractions: `1 min`, `2 h 5 min`."""
    return duration(_MINUTE * max(1, round(time / _MINUTE)))


def available_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


def elapsed(plan: Plan, jobs: dict[Unit, float], figures: float, cores: int) -> float:
    """Seconds until jobs with these seconds, and the figures with theirs, are done on so many cores.

    Between the data and the statistics, all cores are busy, or wait for the longest chain: the training of one
    language model, and what follows each checkpoint; or that of the pretrained one and its proposals.
    """
    alone = figures + sum(time for unit, time in jobs.items() if unit.stage in _ALONE)
    between = {unit: time for unit, time in jobs.items() if unit.stage not in _ALONE}
    compute = plan.study.compute
    threads = {unit: compute.threads * (compute.processes if unit.stage == "lm" else 1) for unit in between}
    busy = sum(time * min(threads[unit], cores) for unit, time in between.items()) / cores
    chains = []
    for one in plan.whole():
        own = {unit: between[unit] for unit in one.own_units() if unit in between}
        chains.append(sum(time for unit, time in own.items() if unit.stage in _PRETRAINED))
        chains += [_chain(own, seed, one.study.lm.every_step()) for seed in one.study.lm.seeds]
    return alone + max([busy, *chains])


def _chain(jobs: dict[Unit, float], seed: int, steps: list[int]) -> float:
    """Seconds of one language model's jobs on as many cores as they can use."""
    trained = sum(time for unit, time in jobs.items() if unit.stage == "warmup" and f"seed-{seed}/" in unit.checkpoint)
    longest = trained
    for step in steps:
        here = [(unit.stage, time) for unit, time in jobs.items() if unit.checkpoint == f"seed-{seed}/step-{step:06d}"]
        first = dict(here)
        trained += first.get("lm", 0)
        probed = max((time for stage, time in here if stage not in ("warmup", "lm", "traces")), default=0)
        longest = max(longest, trained + first.get("traces", 0) + probed)
    return longest


def _on_gpu(study: Study) -> bool:
    device = study.compute.device
    return device == "cuda" or (device == "auto" and any(Path("/dev").glob("nvidia[0-9]*")))

"""One study's statistics: what its tables are computed from, and the tables so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from progsem.measures.content_estimates import Estimated, borrowed
from progsem.measures.generation import mean_of_counts
from progsem.measures.resampling import TEST_PROGRAMS, Resamples
from progsem.measures.results import (
    POOLED,
    Checkpoint,
    Settings,
    count_training_lengths,
    find_checkpoints,
    find_generalisation,
    find_proposals,
    find_transcoders,
)
from progsem.measures.steps import MeasuredStep, measure_step
from progsem.measures.tables import TABLES
from progsem.storage.files import read_csv


@dataclass
class Analysis:
    """What tables are computed from. All of it is found or computed when it is first asked for.

    checkpoints: of every LM seed and step, seeds in config order; generalisation: by LM seed; proposals: by LM
    seed and step, see `find_proposals`; transcoders: files of that stage by name, LM seed and step. What can be done
    at the same time is handed to `workers`.
    """

    settings: Settings
    checkpoints: list[Checkpoint]
    generalisation: dict[int, Path]
    proposals: dict[tuple[int | str | None, int | None], Path]
    metrics: list[Path]
    warmup_metrics: list[Path]
    transcoders: dict[str, dict[tuple[int, int], Path]]
    training_lengths: np.ndarray
    workers: Executor
    _computed: dict[Callable, object] = field(default_factory=dict)

    @classmethod
    def of(cls, job, workers: Executor) -> Analysis:
        """That of a job of the stage `statistics`."""
        settings = Settings.of(job)
        return cls(
            settings=settings,
            checkpoints=find_checkpoints(job, settings),
            generalisation=find_generalisation(job, settings),
            proposals=find_proposals(job, settings),
            metrics=job.inputs["metrics"],
            warmup_metrics=job.inputs.get("warmup_metrics", []),
            transcoders=find_transcoders(job, settings),
            training_lengths=count_training_lengths(job.inputs["corpus"]),
            workers=workers,
        )

    def rows(self, table: str, **where) -> list[dict]:
        """The rows of a table in which every named column has that value."""
        rows = self.once(TABLES[table].rows)
        return [row for row in rows if all(row[key] == value for key, value in where.items())]

    def once(self, compute: Callable[[Analysis], object]):
        """What a function says of this, which is computed when it is first asked for."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return self._computed[compute]

    @cached_property
    def names(self) -> tuple[int | str, ...]:
        """The language models by their seeds, then `pooled` if there are several."""
        return (*self.settings.lm.seeds, POOLED) if self.settings.pooled else tuple(self.settings.lm.seeds)

    @cached_property
    def draws(self) -> Resamples:
        """Resamples of the test programs: one set of draws, so that all results are paired."""
        return Resamples.drawn(self.settings, TEST_PROGRAMS, self.settings.test)

    def at_each(self, steps: Iterable[int], measured: Callable[[list[Checkpoint]], object]) -> dict[int, object]:
        """What a function says of the checkpoints of every language model at each of these steps."""
        steps = list(steps)
        each = [[one for one in self.checkpoints if one.step == step] for step in steps]
        return dict(zip(steps, self.workers.map(measured, each), strict=True))

    @cached_property
    def steps(self) -> dict[int, dict[int | str, MeasuredStep]]:
        """What is measured at each step, by language model."""
        settings, draws, length = self.settings, self.draws, self.training_length
        return self.at_each(settings.lm.every_step(), lambda here: measure_step(here, settings, draws, length))

    def measured(self) -> Iterator[tuple[dict, MeasuredStep]]:
        """What is measured by step and language model; before it, the columns that say which."""
        for step, found in self.steps.items():
            for name, one in found.items():
                yield {"lm_seed": name, "step": step}, one

    @cached_property
    def warmup_tokens(self) -> dict[int, int]:
        """Tokens that each language model was warmed up on, by LM seed; 0 where there was no warm-up."""
        read = [sum(int(row["tokens"]) for row in read_csv(path)) for path in self.warmup_metrics]
        seeds = self.settings.lm.seeds
        return dict(zip(seeds, read or [0] * len(seeds), strict=True))

    @cached_property
    def training_length(self) -> float:
        """Mean number of statements of the training programs."""
        return mean_of_counts(self.training_lengths)

    @cached_property
    def contents(self) -> dict[int | str, dict[int, Estimated]]:
        """Semantic content by language model and step, with the variance over fits that neighbouring steps lend."""
        return self._over_training("contents")

    @cached_property
    def compared(self) -> dict[int | str, dict[int, Estimated]]:
        """Likewise of the alternatives beside the original."""
        return self._over_training("compared")

    def _over_training(self, what: str) -> dict[int | str, dict[int, Estimated]]:
        found = {name: {step: getattr(here[name], what) for step, here in self.steps.items()} for name in self.names}
        return {name: by_step if name == POOLED else borrowed(by_step) for name, by_step in found.items()}

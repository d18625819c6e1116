"""What is measured at one step of the training: of every language model, and of all together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from progsem.measures.content import ContentKey, Fits, Read, in_all, pool, pool_compared, read_semantics
from progsem.measures.content_estimates import Estimated, validation_estimate
from progsem.measures.generation import Sampled, generated_lengths, generation_statistics, pool_generations
from progsem.measures.resampling import Resamples
from progsem.measures.results import POOLED, Checkpoint, Settings, read_programs


@dataclass
class MeasuredStep:
    """What is measured of one language model, or of all together, at one step.

    contents, compared: semantic content, and semantics beside the original, by `ContentKey`; fits: what accuracy.csv
    says, by key. written: statistics of the programs that are written; lengths: their numbers by kind and length.
    """

    written: dict[str, Sampled]
    lengths: dict[str, np.ndarray]
    contents: Estimated = field(default_factory=Estimated)
    compared: Estimated = field(default_factory=Estimated)
    fits: dict[ContentKey, Fits] = field(default_factory=dict)

    def add(self, read: Read, settings: Settings) -> None:
        """What is read under one semantics."""
        for where, content in read.contents.items():
            key = ContentKey(read.semantics, *where)
            self.contents.add(key, content, settings)
            if (where.offset, where.states) == (0, settings.states[0]) and where.source in read.fits:
                self.fits[key] = fit = read.fits[where.source]
                columns = self.contents.estimates[key]
                columns["validation_accuracy"] = validation_estimate(fit, columns["accuracy"], content.states)
        for where, compared in read.compared.items():
            self.compared.add_compared(ContentKey(read.semantics, *where), compared, settings)


def measure_step(
    checkpoints: list[Checkpoint], settings: Settings, draws: Resamples, training_length: float
) -> dict[int | str, MeasuredStep]:
    """Measure the checkpoints of every language model at one step, by LM seed and `pooled` if there are several.

    `training_length` is that of the training programs on average. Of the replicates only what the intervals need
    is kept.
    """
    found, reading = {}, []
    for one in checkpoints:
        programs = read_programs(one.programs, settings.test)
        written = generation_statistics(programs, draws, training_length)
        found[one.seed] = MeasuredStep(written, generated_lengths(programs))
        reading.append(read_semantics(one, settings, draws, programs["row_in_file"]))
    if settings.pooled:
        found[POOLED] = MeasuredStep(pool_generations([one.written for one in found.values()]), {})
    for each in zip(*reading, strict=True):  # of every language model, semantics by semantics
        for measured, read in zip(
            found.values(), [*each, *([pool_read(each)] if settings.pooled else [])], strict=True
        ):
            measured.add(read, settings)
    return found


def pool_read(each: tuple[Read, ...]) -> Read:
    """The same semantics with the language models as units."""
    return Read(
        semantics=each[0].semantics,
        contents={key: pool([one.contents[key] for one in each]) for key in in_all([one.contents for one in each])},
        compared={
            key: pool_compared([one.compared[key] for one in each]) for key in in_all([one.compared for one in each])
        },
        fits={},
    )

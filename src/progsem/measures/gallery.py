"""A few generated programs, statement by statement: the program's state as it is, and as a probe reads it."""

from __future__ import annotations

from itertools import islice

import numpy as np

from progsem.languages import LANGUAGE
from progsem.measures.results import (
    Checkpoint,
    Predictions,
    Settings,
    read_outcomes,
    read_programs,
    read_readings,
    statements,
)
from progsem.storage.files import read_metadata
from progsem.study.vocabulary import FORCED, ORIGINAL, PROGRAMS, SOURCES

GALLERY_RULE = (
    "Solved test specifications whose program has {least} or more statements, all of them probed, and ends in another "
    "state under the difficulty-matched alternative, each program once: those whose states the probe is surest of; "
    "last, in the same order, one that is not solved, if there is any."
)


class Readings:
    """The test programs of one checkpoint, and what a probe reads at each of their statements under a semantics.

    Programs and states are those of the headline source, the probe is the deepest one
    of probe seed 0. `programs` holds the test rows of programs.arrow, `about` their
    metadata; `worlds` (N, 1) those that they were traced on; `codes` (N, L) the programs
    that are shown; `probed` (N,) how many of their statements a probe has answered for, and
    `sure` (N,) the mean probability that it gives to its answers there.
    """

    def __init__(self, checkpoint: Checkpoint, settings: Settings, semantics: str = ORIGINAL):
        source = settings.sources[0]
        self._meanings = LANGUAGE.codes.semantics(settings.interventions.alternatives.get(semantics, {}))
        self.step_limit = settings.step_limit
        self.programs = read_programs(checkpoint.programs, settings.test)
        self.about = read_metadata(checkpoint.programs)
        self.worlds = LANGUAGE.execution.of_columns(self.programs, self.about)
        self.codes = self.programs[PROGRAMS[source]]
        self._answers = read_readings(checkpoint.predictions[semantics], settings, self.programs["row_in_file"])
        self._rows = np.flatnonzero((self._answers.source == SOURCES.index(source)) & (self._answers.offset == 0))
        self._clusters = self._answers.cluster[self._rows]
        self.probed = np.bincount(self._clusters, minlength=settings.test)
        sure = np.prod([values[self._rows] for values in self._answers.confidence.values()], axis=0, dtype=float)
        self.sure = np.bincount(self._clusters, sure, settings.test) / np.maximum(self.probed, 1)

    def example(self, index: int) -> dict:
        """The first example of a test specification: its input, and the output that its own program makes of it."""
        shown = LANGUAGE.gallery.example(self.worlds.at((index, 0)), self.programs["reference"][index], self.step_limit)
        return {"specification": int(self.programs["row"][index]), **shown}

    def run(self, index: int) -> dict:
        """A test specification's program on its first example: text, whether it is right, and every statement.

        A statement has the world right after its first execution, which is null where it
        was never reached, and what the probe reads, null where it was not asked.
        `correct` and `finished` are those of the program that the model writes.
        """
        program, world = self.codes[index], self.worlds.at((index, 0))
        rows = self._rows[self._clusters == index]
        answered = dict(zip(self._answers.statement[rows].tolist(), rows, strict=True))
        statements = LANGUAGE.gallery.statements(program, world, self.step_limit, self._meanings)
        for number, statement in enumerate(statements):
            row = answered.get(number) if statement["executed"] else None
            read, confidence = (
                {} if row is None else {name: values[row] for name, values in answers.items()}
                for answers in (self._answers.read, self._answers.confidence)
            )
            statement["read"] = LANGUAGE.gallery.reading(read, world)
            statement["confidence"] = {name: round(float(value), 3) for name, value in confidence.items()}
        return {
            "program": LANGUAGE.text.source(program),
            "correct": bool(self.programs["correct_shown"][index]),
            "finished": bool(self.programs["generated_finished"][index]),
            "statements": statements,
        }


def choose(checkpoints: list[Checkpoint], settings: Settings) -> dict:
    """Generated programs with their true states and those that the probe reads, at the last checkpoint.

    Headline source, deepest probe, probe seed 0, first LM seed. The reading is null where a statement has no probed
    state, or the feature is not probed. `matched` is the same under the difficulty-matched alternative, if there is
    one. `read_right` is the share of all states of solved programs of which every feature is read right, by semantics.
    """
    seed, last = settings.lm.seeds[0], settings.lm.every_step()[-1]
    (checkpoint,) = (one for one in checkpoints if (one.seed, one.step) == (seed, last))
    semantics = (ORIGINAL, *settings.alternatives[:1])
    readings, *matched = (Readings(checkpoint, settings, name) for name in semantics)
    source = settings.sources[0]
    lengths = statements(readings.codes)
    # With drop_final, the last statement has no state.
    suitable = (readings.probed >= np.maximum(lengths - (1 if settings.probes.drop_final else 0), 1)) & (
        readings.programs["generated_finished"] | (source == FORCED)
    )
    least = next((n for n in (3, 2, 1) if (suitable & (lengths >= n)).any()), 1)
    candidates = np.flatnonzero(suitable & (lengths >= least))
    candidates = candidates[np.argsort(-readings.sure[candidates], kind="stable")]
    surest_of_each = np.unique(readings.codes[candidates], axis=0, return_index=True)[1]
    candidates = candidates[np.sort(surest_of_each)]
    correct = readings.programs["correct_shown"].astype(bool)

    def first(indices: np.ndarray, count: int) -> list[dict]:
        entries = (gallery_entry(readings, matched, index) for index in indices)
        return list(islice(filter(_ends_elsewhere, entries), count))

    wrong = first(candidates[~correct[candidates]], settings.gallery > 1)
    solved = first(candidates[correct[candidates]], settings.gallery - len(wrong))
    return {
        "rule": GALLERY_RULE.format(least=least),
        "source": source,
        "depth": settings.depths[-1],
        "step": last,
        "lm_seed": seed,
        "height": readings.about["height"],
        "width": readings.about["width"],
        "semantics": list(semantics),
        "read_right": {
            name: read_right(checkpoint.predictions[name], settings, readings, correct) for name in semantics
        },
        "entries": solved + wrong,
    }


def _ends_elsewhere(entry: dict) -> bool:
    """Whether the last state is read as another one under the other semantics, if there is one."""
    if entry["matched"] is None:
        return True
    ends = [each[-1]["true"] for each in (entry["statements"], entry["matched"])]
    return None in ends or not all(LANGUAGE.gallery.judgement(*ends).values())


def read_right(predictions: Predictions, settings: Settings, readings: Readings, correct: np.ndarray) -> float | None:
    """Of the states of correct programs (N,) the share that the deepest probe of seed 0 reads right, all features."""
    outcomes = read_outcomes(predictions, settings, readings.programs["row_in_file"])
    here = (outcomes.source == SOURCES.index(settings.sources[0])) & (outcomes.offset == 0) & correct[outcomes.cluster]
    return float(outcomes.right[here, :, -1, 0].all(axis=1).mean()) if here.any() else None


def gallery_entry(readings: Readings, matched: list[Readings], index: int) -> dict:
    """One specification: its first example, the program, and after each statement its state, true and read."""
    run, *others = (one.run(index) for one in (readings, *matched))
    for statement in (one for each in (run, *others) for one in each["statements"]):
        statement |= LANGUAGE.gallery.judgement(statement["true"], statement["read"])
    return readings.example(index) | run | {"matched": others[0]["statements"] if others else None}

"""A few generated programs, statement by statement: the robot as it is, and as a probe reads it."""

from __future__ import annotations

import numpy as np

from progsem.data.encodings import Spaced
from progsem.languages.karel import codes, features, kernels
from progsem.languages.karel.replay import cells_after
from progsem.measures.results import (
    ORIGINAL,
    PROGRAMS,
    SOURCES,
    Checkpoint,
    Settings,
    read_programs,
    read_readings,
    statements,
)
from progsem.storage.files import read_metadata

GALLERY_RULE = (
    "Test specifications in file order, each generated program once, of {least} or more statements, all of them "
    "probed: correct ones first, the last entry a wrong one if there is any."
)


class Readings:
    """The test programs of one checkpoint, and what a probe reads at each of their statements.

    Programs and states are those of the headline source, the probe is the deepest one
    of probe seed 0. `programs` holds the test rows of programs.arrow, `about` their
    metadata; `codes` (N, L) the programs that are shown; `probed` (N,) how many of
    their statements a probe has answered for.
    """

    def __init__(self, checkpoint: Checkpoint, settings: Settings):
        source = settings.sources[0]
        self.step_limit = settings.step_limit
        self.programs = read_programs(checkpoint.programs, settings.test)
        self.about = read_metadata(checkpoint.programs)
        self.codes = self.programs[PROGRAMS[source]]
        self._answers = read_readings(checkpoint.predictions[ORIGINAL], settings, self.programs["row_in_file"])
        self._rows = np.flatnonzero((self._answers.source == SOURCES.index(source)) & (self._answers.offset == 0))
        self._clusters = self._answers.cluster[self._rows]
        self.probed = np.bincount(self._clusters, minlength=settings.test)

    def example(self, index: int) -> dict:
        """The first example of a test specification: its input, and the output that its own program makes of it."""
        cells, pose = self._world(index)
        reference = self.programs["reference"][index]
        wanted_cells, wanted_poses, _ = kernels.execute(
            reference[None], cells[None, None], pose[None, None], codes.ORIGINAL, self.step_limit
        )
        return {
            "specification": int(self.programs["row"][index]),
            "cells": cells.tolist(),
            "start": _robot(pose),
            "wanted": {"cells": wanted_cells[0, 0].tolist(), "robot": _robot(wanted_poses[0, 0])},
        }

    def run(self, index: int) -> dict:
        """A test specification's program on its first example: text, whether it is right, and every statement.

        A statement has the world right after its first execution, which is null where it
        was never reached, and the robot that the probe reads, null where it was not asked.
        `correct` and `finished` are those of the program that the model writes.
        """
        program, (cells, pose) = self.codes[index], self._world(index)
        trace = kernels.trace(program[None], cells[None], pose[None], codes.ORIGINAL, self.step_limit)
        after = cells_after(program, cells, pose, self.step_limit)
        rows = self._rows[self._clusters == index]
        answered = dict(zip(self._answers.statement[rows].tolist(), rows, strict=True))
        entries = []
        for statement, position in enumerate(np.flatnonzero(program < len(codes.ACTIONS))):
            executed = bool(trace.executed[0, position])
            now, markers, tested = (values[:, position] for values in (trace.poses, trace.markers, trace.tested))
            facts = features.labels(("wall_ahead",), cells[None], pose[None], pose[None], now, markers, tested)
            true = _robot(now[0]) | {"markers": int(markers[0]), "wall_ahead": bool(facts[0, 0])}
            read, confidence = self._reading(answered.get(statement) if executed else None, pose, cells.shape)
            entries.append(
                {
                    "text": codes.ACTIONS[program[position]] + "()",
                    "executed": executed,
                    "cells": after[position].tolist() if executed else None,
                    "true": true if executed else None,
                    "read": read,
                    "confidence": confidence,
                }
            )
        return {
            "program": program_text(program),
            "correct": bool(self.programs["correct_shown"][index]),
            "finished": bool(self.programs["generated_finished"][index]),
            "statements": entries,
        }

    def _world(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Cells (H, W) and pose (3,) of the first example's input."""
        cells = self.programs["cells"][index].reshape(self.about["height"], self.about["width"])
        return cells, self.programs["pose"][index]

    def _reading(self, row: int | None, start: np.ndarray, shape: tuple[int, int]) -> tuple[dict, dict]:
        """The robot in a row of the predictions, and by feature how likely the probe holds its answer to be."""
        read = {"row": None, "column": None, "heading": None, "wall_ahead": None}
        if row is None:
            return read, {}
        answers = {name: values[row] for name, values in self._answers.read.items()}
        confidence = {name: round(float(values[row]), 3) for name, values in self._answers.confidence.items()}
        if "facing" in answers:
            read["heading"] = int(answers["facing"][0])
        if "offset_from_start" in answers:
            read["row"], read["column"] = position_from_offset(answers["offset_from_start"], start, *shape)
        if "wall_ahead" in answers:
            read["wall_ahead"] = bool(answers["wall_ahead"][0])
        return read, confidence


def choose(checkpoints: list[Checkpoint], settings: Settings) -> dict:
    """Generated programs with the true robot and the one that the probe reads, at the last checkpoint.

    Headline source, deepest probe, probe seed 0, first LM seed. The reading is
    null where a statement has no probed state, or the feature is not probed.
    """
    seed, last = settings.lm.seeds[0], settings.lm.checkpoints()[-1]
    (checkpoint,) = (one for one in checkpoints if (one.seed, one.step) == (seed, last))
    readings = Readings(checkpoint, settings)
    source = settings.sources[0]
    lengths = statements(readings.codes)
    # With drop_final, the last statement has no state.
    suitable = (readings.probed >= np.maximum(lengths - (1 if settings.probes.drop_final else 0), 1)) & (
        readings.programs["generated_finished"] | (source == "forced")
    )
    least = next((n for n in (3, 2, 1) if (suitable & (lengths >= n)).any()), 1)
    first_of_each = np.zeros(settings.test, dtype=bool)
    first_of_each[np.unique(readings.codes, axis=0, return_index=True)[1]] = True
    candidates = np.flatnonzero(suitable & (lengths >= least) & first_of_each)
    correct = readings.programs["correct_shown"].astype(bool)
    wrong = [index for index in candidates if not correct[index]][:1] if settings.gallery > 1 else []
    chosen = [index for index in candidates if correct[index]][: settings.gallery - len(wrong)] + wrong
    return {
        "rule": GALLERY_RULE.format(least=least),
        "source": source,
        "depth": settings.depths[-1],
        "step": last,
        "lm_seed": seed,
        "height": readings.about["height"],
        "width": readings.about["width"],
        "entries": [gallery_entry(readings, index) for index in chosen],
    }


def gallery_entry(readings: Readings, index: int) -> dict:
    """One specification: its first example, the program, and after each statement the robot, true and read."""
    run, program = readings.run(index), readings.codes[index]
    for statement in run["statements"]:
        statement |= _judgement(statement["true"], statement["read"])
    straight_line = not bool(((program >= codes.NOT) & (program != codes.PAD)).any())
    return readings.example(index) | run | {"straight_line": straight_line}


def _judgement(true: dict | None, read: dict) -> dict:
    """Whether heading and place are read right; None where they are not read."""
    place = read["row"], read["column"]
    return {
        "facing_right": None if read["heading"] is None else read["heading"] == true["heading"],
        "position_right": None if place[0] is None else place == (true["row"], true["column"]),
    }


def _robot(pose: np.ndarray) -> dict:
    return dict(zip(("row", "column", "heading"), map(int, pose), strict=True))


def position_from_offset(answer: np.ndarray, start: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """Row and column that an answer (dx, dy) to `offset_from_start` means for a robot that started at `start`.

    The position may lie outside the grid: nothing keeps a probe inside it.
    """
    return int(start[0]) + int(answer[1]) - (height - 1), int(start[1]) + int(answer[0]) - (width - 1)


def program_text(program: np.ndarray) -> str:
    """A program (L,) of codes as source text."""
    ids, lengths, *_ = _SPACED.spell(program[None])
    return "def run() {" + "".join(_SPACED.vocabulary[token] for token in ids[0, : lengths[0]])


_SPACED = Spaced()

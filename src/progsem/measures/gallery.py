"""A few generated programs, statement by statement: the robot as it is, and as a probe reads it."""

from __future__ import annotations

import numpy as np

from progsem.encodings import Spaced
from progsem.karel import codes, kernels
from progsem.measures.results import (
    ORIGINAL,
    SOURCES,
    Checkpoint,
    Outcomes,
    Settings,
    metadata,
    read_outcomes,
    read_programs,
    statements,
)

GALLERY_RULE = (
    "Test specifications in file order, each generated program once, of {least} or more statements, all of them "
    "probed: correct ones first, the last entry a wrong one if there is any."
)


def choose(checkpoints: list[Checkpoint], settings: Settings) -> dict:
    """Generated programs with the true robot and the one that the probe reads, at the last checkpoint.

    Headline source, deepest probe, probe seed 0, first LM seed. The reading is
    null where a statement has no probed state, or the feature is not probed.
    """
    seed, last = settings.lm.seeds[0], settings.lm.checkpoints()[-1]
    (checkpoint,) = (one for one in checkpoints if (one.seed, one.step) == (seed, last))
    source = settings.sources[0]
    column = "generated" if source == "generated" else "reference"
    programs = read_programs(checkpoint.programs, settings.test)
    about = metadata(checkpoint.programs)
    outcome = read_outcomes(checkpoint.predictions[ORIGINAL], settings, programs["row_in_file"])
    here = np.flatnonzero((outcome.source == SOURCES.index(source)) & (outcome.offset == 0))
    probed = np.bincount(outcome.cluster[here], minlength=settings.test)
    lengths = statements(programs[column])
    # With drop_final, the last statement has no state.
    suitable = (probed >= np.maximum(lengths - (1 if settings.probes.drop_final else 0), 1)) & (
        programs["generated_finished"] | (source == "forced")
    )
    least = next((n for n in (3, 2, 1) if (suitable & (lengths >= n)).any()), 1)
    first_of_each = np.zeros(settings.test, dtype=bool)
    first_of_each[np.unique(programs[column], axis=0, return_index=True)[1]] = True
    candidates = np.flatnonzero(suitable & (lengths >= least) & first_of_each)
    correct = programs["correct_shown"].astype(bool)
    wrong = [index for index in candidates if not correct[index]][:1] if settings.gallery > 1 else []
    chosen = [index for index in candidates if correct[index]][: settings.gallery - len(wrong)] + wrong
    entries = []
    for index in chosen:
        rows = {int(outcome.statement[row]): row for row in here[outcome.cluster[here] == index]}
        entries.append(gallery_entry(programs, column, index, rows, outcome, about, settings))
    return {
        "rule": GALLERY_RULE.format(least=least),
        "source": source,
        "depth": settings.depths[-1],
        "step": last,
        "lm_seed": seed,
        "height": about["height"],
        "width": about["width"],
        "entries": entries,
    }


def gallery_entry(
    programs: dict, column: str, index: int, rows: dict[int, int], outcome: Outcomes, about: dict, settings: Settings
) -> dict:
    """One specification: its first example, the program, and after each statement the robot, true and read."""
    program, pose = programs[column][index], programs["pose"][index]
    height, width = about["height"], about["width"]
    cells = programs["cells"][index].reshape(height, width)
    trace = kernels.trace(program[None], cells[None], pose[None], codes.ORIGINAL, settings.step_limit)
    # The example's output is what the specification's own program makes of its input.
    wanted_cells, wanted_poses, _ = kernels.execute(
        programs["reference"][index][None], cells[None, None], pose[None, None], codes.ORIGINAL, settings.step_limit
    )
    deepest, entry = len(settings.depths) - 1, []
    for statement, position in enumerate(np.flatnonzero(program < len(codes.ACTIONS))):
        executed = bool(trace.executed[0, position])
        row, column_, heading = (int(value) for value in trace.poses[0, position])
        true = {"row": row, "column": column_, "heading": heading, "markers": int(trace.markers[0, position])}
        read = {"row": None, "column": None, "heading": None}
        if executed and statement in rows:
            answers = {name: values[rows[statement], deepest, 0] for name, values in outcome.readings.items()}
            if "facing" in answers:
                read["heading"] = int(answers["facing"][0])
            if "offset_from_start" in answers:
                read["row"], read["column"] = position_from_offset(answers["offset_from_start"], pose, height, width)
        entry.append(
            {
                "text": codes.ACTIONS[program[position]] + "()",
                "executed": executed,
                "true": true if executed else None,
                "read": read,
                "facing_right": None if read["heading"] is None else read["heading"] == heading,
                "position_right": None if read["row"] is None else (read["row"], read["column"]) == (row, column_),
            }
        )
    return {
        "specification": int(programs["row"][index]),
        "correct": bool(programs["correct_shown"][index]),
        "program": program_text(program),
        "straight_line": not bool(((program >= codes.NOT) & (program != codes.PAD)).any()),
        "cells": cells.tolist(),
        "start": _robot(pose),
        "wanted": {"cells": wanted_cells[0, 0].tolist(), "robot": _robot(wanted_poses[0, 0])},
        "statements": entry,
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
    spaced = Spaced()
    ids, lengths, *_ = spaced.spell(program[None])
    return "def run() {" + "".join(spaced.vocabulary[token] for token in ids[0, : lengths[0]])

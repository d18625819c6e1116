"""What the trace viewer shows of edits: pairs of beginnings, and the programs that are written under every edit."""

from __future__ import annotations

import numpy as np

from progsem.languages import LANGUAGE
from progsem.measures.edits import APART
from progsem.measures.gallery import Readings
from progsem.measures.results import Checkpoint, EditFiles, Settings
from progsem.storage.files import read_table
from progsem.study.vocabulary import BEHIND_TARGET, EDIT_SOURCES, NO_CONTROL, ORIGINAL, RANDOM, UNEDITED

PAIRS = 8  # of each feature
EDITS_RULE = (
    "of each edited feature the first {count} pairs in the file, one of a specification, whose next statements are "
    "apart at the last edited checkpoint (total variation {apart} or more); before others those in which the model "
    "ends in the wanted output behind both beginnings"
)


def choose(checkpoints: list[Checkpoint], settings: Settings) -> dict | None:
    """Pairs of beginnings at every edited checkpoint of one language model; None if none was edited.

    `pairs` have a feature, a specification with its first example, base and target (as `_beginning` has them) and
    `runs`: of each step what is written behind `base` and `target`, and by way (`target`, `donor`, `random`) and edit
    what is under it, a list over blocks. What is written is [number of its text in `texts`, likeliest next code is the
    target's, ends in the outputs from the target's state, from the base's].
    """
    edited = [one for one in checkpoints if ORIGINAL in one.edits]
    if not edited:
        return None
    readings = Readings(edited[-1], settings)
    tables = [_Edits(one.edits[ORIGINAL]) for one in edited]
    texts: dict[str, int] = {}
    pairs = []
    for feature, pair in tables[-1].chosen():
        program, length, base, target = tables[-1].beginnings(feature, pair)
        about = {
            "feature": tables[-1].about["features"][feature],
            "length": length,
            "base": _beginning(readings, program, base),
            "target": _beginning(readings, program, target),
        }
        runs = [
            {"step": one.step, **table.run(feature, pair, texts)} for one, table in zip(edited, tables, strict=True)
        ]
        pairs.append(readings.example(program) | about | {"runs": runs})
    return {
        "rule": EDITS_RULE.format(count=PAIRS, apart=APART),
        "layers": tables[-1].layers,
        "edits": tables[-1].names,
        "pairs": pairs,
        "texts": list(texts),
    }


def _beginning(readings: Readings, program: int, codes: np.ndarray) -> dict:
    """A beginning as text, and the world behind it."""
    last = LANGUAGE.gallery.statements(codes, readings.worlds.at((program, 0)), readings.step_limit)[-1]
    return {"program": LANGUAGE.text.source(codes), "cells": last["cells"], "true": last["true"]}


class _Edits:
    """The tables of one checkpoint's edits."""

    def __init__(self, files: EditFiles):
        self._pairs, _ = read_table(files.counterfactuals)
        self._columns, self.about = read_table(files.edits)
        edit, layer = self._columns["edit"], self._columns["layer"]
        done = np.unique(edit[layer > 0])
        self.names = [self.about["edits"][number] for number in done]
        self.layers = np.unique(layer[layer > 0]).tolist()

    def chosen(self) -> list[tuple[int, int]]:
        """Feature and number of the pairs that are shown (`EDITS_RULE`)."""
        base, target = map(self._of, (UNEDITED, BEHIND_TARGET))
        both = self._columns["ends_base"][base] & self._columns["ends_target"][target]
        apart = self._columns["distance_base"][base] >= APART
        found = []
        for feature in np.unique(self._columns["feature"][base]):
            here = np.flatnonzero((self._columns["feature"][base] == feature) & apart)
            here = here[np.argsort(~both[here], kind="stable")]
            _, first = np.unique(self._columns["program"][base[here]], return_index=True)
            rows = base[here[np.sort(first)[:PAIRS]]]
            found += [(int(feature), int(pair)) for pair in self._columns["pair"][rows]]
        return found

    def _of(self, edit: str) -> np.ndarray:
        """Rows of an edit."""
        return np.flatnonzero(self._columns["edit"] == self.about["edits"].index(edit))

    def beginnings(self, feature: int, pair: int) -> tuple[int, int, np.ndarray, np.ndarray]:
        """Number of the specification, statements, and codes of base and target."""
        (row,) = np.flatnonzero((self._pairs["feature"] == feature) & (self._pairs["pair"] == pair))
        return (
            int(self._pairs["program"][row]),
            int(self._pairs["length"][row]),
            *(self._pairs[name][row] for name in ("base", "target")),
        )

    def run(self, feature: int, pair: int, texts: dict[str, int]) -> dict:
        """What is written of one pair; new texts are added to `texts`."""
        rows = np.flatnonzero((self._columns["feature"] == feature) & (self._columns["pair"] == pair))
        shown = {way: {} for way in (*EDIT_SOURCES, RANDOM)}
        found = {}
        for row in rows:
            edit, control, source = (
                self.about[names][self._columns[name][row]]
                for name, names in (("edit", "edits"), ("control", "controls"), ("source", "sources"))
            )
            if edit in (UNEDITED, BEHIND_TARGET):
                found[edit] = self._written(row, texts)
            elif control in (NO_CONTROL, RANDOM):
                by_layer = shown[source if control == NO_CONTROL else RANDOM].setdefault(
                    edit, dict.fromkeys(self.layers)
                )
                by_layer[int(self._columns["layer"][row])] = self._written(row, texts)
        by_way = {way: {edit: list(one.values()) for edit, one in edits.items()} for way, edits in shown.items()}
        return {"base": found[UNEDITED], "target": found[BEHIND_TARGET], "ways": by_way}

    def _written(self, row: int, texts: dict[str, int]) -> list:
        columns = self._columns
        text = LANGUAGE.text.source(columns["written"][row])
        return [
            texts.setdefault(text, len(texts)),
            bool(columns["top"][row] == columns["top_target"][row]),
            bool(columns["ends_target"][row]),
            bool(columns["ends_base"][row]),
        ]

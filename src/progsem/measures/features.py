"""The features of transcoders that are best at saying something of the program's state, and where they are active."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from progsem.languages import LANGUAGE
from progsem.measures.analysis import Analysis
from progsem.measures.results import read_programs
from progsem.storage.files import read_csv, read_metadata, read_table
from progsem.study.vocabulary import ORIGINAL

SHOWN = 6  # features
EACH = 6  # statements of each
FEATURES_RULE = (
    "For each label the property and the feature of any block whose F1 on training programs is highest above that of "
    "saying yes always, and of these the highest; of each feature, the statements of different programs at which it "
    "is most active."
)


@dataclass(frozen=True)
class Active:
    """A feature: its row of properties.csv, and at N statements of test programs how active it is there.

    program, statement: (N,) which these are, as activations.arrow has them.
    """

    row: dict[str, str]
    program: np.ndarray
    statement: np.ndarray
    activation: np.ndarray

    def about(self) -> dict:
        """What it says, and how well."""
        entry = {name: self.row[name] for name in ("layer", "kind", "feature", "head")}
        entry |= {name: int(self.row[name]) for name in ("value", "unit")}
        return entry | {name: round(float(self.row[name]), 3) for name in ("f1", "precision", "always")}


class Features:
    """The best features of the first kind of dictionary at the last checkpoint of the first LM seed.

    `found` has none where the study has no dictionaries there.
    """

    def __init__(self, analysis: Analysis):
        self.settings = settings = analysis.settings
        key = settings.lm.seeds[0], settings.lm.every_step()[-1]
        self.found: list[Active] = []
        if key not in analysis.transcoders["properties"]:
            return
        kind = settings.transcoders.kinds[0]
        columns, about = read_table(analysis.transcoders["activations"][key])
        for row, number in _best(read_csv(analysis.transcoders["properties"][key]), kind):
            here = (columns["layer"] == int(row["layer"])) & (columns["kind"] == about["kinds"].index(kind))
            active = columns["activation"][here, number].astype(float)
            self.found.append(Active(row, columns["program"][here], columns["statement"][here], active))
        (checkpoint,) = (one for one in analysis.checkpoints if (one.seed, one.step) == key)
        self.programs = read_programs(checkpoint.programs, settings.test)
        self.about = read_metadata(checkpoint.programs)
        self.worlds = LANGUAGE.execution.of_columns(self.programs, self.about)

    def examples(self) -> dict:
        """What the figure `features` shows, as JSON: each feature with `statements` at which it is most active."""
        shown = [one.about() | {"statements": self._most_active(one)} for one in self.found]
        return {"rule": FEATURES_RULE, "features": shown}

    def beside(self, specifications: list[int]) -> dict:
        """How active each is at every statement of some specifications' own programs, for the trace viewer.

        `active`: by specification and feature, for each statement how active it is, as a share of its largest
        activation in per cent, and whether what it says holds there; null where the statement is never reached.
        """
        rows = {row: place for place, row in enumerate(self.programs["row"].tolist())} if self.found else {}
        active = [self._along(rows[number]) for number in specifications if self.found]
        return {"features": [one.about() for one in self.found], "active": active}

    def _most_active(self, one: Active) -> list[dict]:
        """Statements at which a feature is most active, each of another program text."""
        shown, seen = [], set()
        for place in np.argsort(-one.activation, kind="stable"):
            program, statement = int(one.program[place]), int(one.statement[place])
            codes, world = self.programs["reference"][program], self.worlds.at((program, 0))
            if one.activation[place] <= 0 or len(shown) == EACH:
                break
            if codes.tobytes() in seen:
                continue
            seen.add(codes.tobytes())
            run = LANGUAGE.gallery.statements(codes, world, self.settings.step_limit)
            shown.append(
                LANGUAGE.gallery.example(world, codes, self.settings.step_limit)
                | {"program": LANGUAGE.text.source(codes), "number": statement}
                | {"activation": round(float(one.activation[place]), 3)}
                | {"after": run[statement] | {"read": LANGUAGE.gallery.reading({}, world)}}
            )
        return shown

    def _along(self, program: int) -> list[list[list | None]]:
        """Each feature at every statement of a program."""
        codes, world = self.programs["reference"][program], self.worlds.at((np.s_[program : program + 1], 0))
        run = LANGUAGE.execution.trace(codes[None], world, self.settings.step_limit)
        return [self._of(one, program, run) for one in self.found]

    def _of(self, one: Active, program: int, run) -> list[list | None]:
        numbers = np.arange(int(run.actions[0]))
        feature = one.row["feature"]
        heads = [head.name for head in LANGUAGE.features.heads((feature,), self.about)]
        labels = LANGUAGE.features.labels((feature,), run.states(np.zeros_like(numbers), numbers))
        holds = labels[:, heads.index(one.row["head"])] == int(one.row["value"])
        here = one.program == program
        largest = one.activation.max(initial=0) or 1
        active = dict(zip(one.statement[here].tolist(), one.activation[here] / largest, strict=True))
        return [
            [round(100 * float(active[number])), bool(holds[number])] if number in active else None
            for number in numbers.tolist()
        ]


def _best(rows: list[dict[str, str]], kind: str) -> list[tuple[dict[str, str], int]]:
    """Of each label the best row of properties.csv, and its number among those of its block; the best of all first."""
    by_layer: dict[str, list[dict]] = {}
    for row in rows:
        if row["kind"] == kind and row["semantics"] == ORIGINAL:
            by_layer.setdefault(row["layer"], []).append(row)
    best: dict[tuple, tuple[dict, int]] = {}
    for own in by_layer.values():
        for number, row in enumerate(own):
            label = row["feature"], row["head"]
            if label not in best or _gain(row) > _gain(best[label][0]):
                best[label] = row, number
    return sorted(best.values(), key=lambda found: -_gain(found[0]))[:SHOWN]


def _gain(row: dict[str, str]) -> float:
    """By how much it is better than to say yes always, on training programs: the F1 shown is on test programs."""
    return float(row["train_f1"]) - float(row["always"])

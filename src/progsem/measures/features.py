"""The features of transcoders that are best at saying something of the program's state, and where they are active."""

from __future__ import annotations

import numpy as np

from progsem.languages import LANGUAGE
from progsem.measures.analysis import Analysis
from progsem.measures.results import read_programs
from progsem.storage.files import read_csv, read_metadata, read_table
from progsem.study.vocabulary import ORIGINAL

SHOWN = 6  # features
EACH = 6  # statements of each
FEATURES_RULE = (
    "For each label the property and the feature of any block whose F1 on test programs is highest above that of "
    "saying yes always, and of these the highest; of each feature, the statements of different programs at which it "
    "is most active."
)


def choose(analysis: Analysis) -> dict:
    """The best features of the first kind of dictionary at the last checkpoint of the first LM seed, as JSON.

    `features`, each with what it says and how well, and `statements` at which it is most active; none where the study
    has no dictionaries at the last checkpoint.
    """
    settings = analysis.settings
    seed, last = settings.lm.seeds[0], settings.lm.every_step()[-1]
    if (seed, last) not in analysis.transcoders["properties"]:
        return {"rule": FEATURES_RULE, "features": []}
    kind = settings.transcoders.kinds[0]
    rows = read_csv(analysis.transcoders["properties"][seed, last])
    rows = [row for row in rows if row["kind"] == kind and row["semantics"] == ORIGINAL]
    by_layer = {layer: [row for row in rows if row["layer"] == layer] for layer in {row["layer"] for row in rows}}
    best: dict[tuple, tuple[dict, int]] = {}
    for own in by_layer.values():
        for number, row in enumerate(own):
            label = row["feature"], row["head"]
            if label not in best or _gain(row) > _gain(best[label][0]):
                best[label] = row, number
    chosen = sorted(best.values(), key=lambda found: -_gain(found[0]))[:SHOWN]
    columns, about = read_table(analysis.transcoders["activations"][seed, last])
    (checkpoint,) = (one for one in analysis.checkpoints if (one.seed, one.step) == (seed, last))
    programs = read_programs(checkpoint.programs, settings.test)
    worlds = LANGUAGE.execution.of_columns(programs, read_metadata(checkpoint.programs))
    found = []
    for row, number in chosen:
        here = (columns["layer"] == int(row["layer"])) & (columns["kind"] == about["kinds"].index(kind))
        active = columns["activation"][here, number].astype(float)
        entry = {name: row[name] for name in ("layer", "kind", "feature", "head")}
        entry |= {"value": int(row["value"]), "unit": int(row["unit"])}
        entry |= {name: round(float(row[name]), 3) for name in ("f1", "precision", "always")}
        entry["statements"] = []
        for place in _most_active(active, columns["program"][here], programs["reference"]):
            program, statement = (int(columns[name][here][place]) for name in ("program", "statement"))
            codes, world = programs["reference"][program], worlds.at((program, 0))
            example = LANGUAGE.gallery.example(world, codes, settings.step_limit)
            run = LANGUAGE.gallery.statements(codes, world, settings.step_limit)
            straight_line = not bool(LANGUAGE.codes.has_control_flow(codes))
            shown = example | {"program": LANGUAGE.text.source(codes), "straight_line": straight_line}
            shown |= {"number": statement, "activation": round(float(active[place]), 3)}
            entry["statements"].append(
                shown | {"after": run[statement] | {"read": LANGUAGE.gallery.reading({}, world)}}
            )
        found.append(entry)
    return {"rule": FEATURES_RULE, "features": found}


def _gain(row: dict[str, str]) -> float:
    return float(row["f1"]) - float(row["always"])


def _most_active(active: np.ndarray, program: np.ndarray, codes: np.ndarray) -> list[int]:
    """Statements at which a feature is most active, each of another program text."""
    places, seen = [], set()
    for place in np.argsort(-active, kind="stable"):
        text = codes[program[place]].tobytes()
        if active[place] > 0 and text not in seen:
            places.append(int(place))
            seen.add(text)
        if len(places) == EACH:
            break
    return places

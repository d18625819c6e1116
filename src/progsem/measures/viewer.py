"""What the trace viewer shows: the same test specifications at every checkpoint, statement by statement."""

from __future__ import annotations

import numpy as np

from progsem.languages import LANGUAGE
from progsem.measures import edit_examples
from progsem.measures.gallery import Readings
from progsem.measures.results import Checkpoint, Settings, statements
from progsem.measures.writing import plain

SHOWN = 24  # specifications
VIEWER_RULE = (
    "of each length of program in turn the first in the file, {solved} that the model solves at its last checkpoint "
    "and {unsolved} that it does not"
)


def choose(checkpoints: list[Checkpoint], settings: Settings) -> dict:
    """The programs of some test specifications at every checkpoint, with the true worlds and the probe's readings.

    `edits` are as `edit_examples` has them.

    First LM seed, headline source, deepest probe, probe seed 0; statements as in
    `gallery.Readings.run`. Specifications are ordered by the length of their reference
    program. Where the source is `forced`, the program shown is that reference program.
    """
    seed = settings.lm.seeds[0]
    mine = [one for one in checkpoints if one.seed == seed]
    last = Readings(mine[-1], settings)
    solved, lengths = last.programs["correct_shown"].astype(bool), statements(last.programs["reference"])
    chosen = choose_specifications(solved, lengths)
    shown = [
        last.example(index) | {"reference": LANGUAGE.text.source(last.programs["reference"][index]), "runs": []}
        for index in chosen
    ]
    steps = []
    for checkpoint in mine:
        readings = Readings(checkpoint, settings)
        accuracy = readings.programs["correct_shown"].mean()
        steps.append({"step": checkpoint.step, "generative_accuracy": accuracy})
        for specification, index in zip(shown, chosen, strict=True):
            specification["runs"].append({"step": checkpoint.step} | readings.run(index))
    count = int(solved[chosen].sum())
    return plain(
        {
            "rule": VIEWER_RULE.format(solved=count, unsolved=len(chosen) - count),
            "source": settings.sources[0],
            "depth": settings.depths[-1],
            "lm_seed": seed,
            "height": last.about["height"],
            "width": last.about["width"],
            "features": list(settings.features),
            "n_test": settings.test,
            "checkpoints": steps,
            "specifications": shown,
            "edits": edit_examples.choose(mine, settings),
        }
    )


def choose_specifications(solved: np.ndarray, lengths: np.ndarray, count: int = SHOWN) -> np.ndarray:
    """Test specifications to show: half of them solved, as far as there are, and as many of each length.

    solved: (N,) bool; lengths: (N,) statements of the reference program. Lengths take
    turns, each giving its first in file order. Returns up to `count` of the numbers
    0 … N - 1, those of shorter programs first.
    """
    nth = np.zeros(len(lengths), int)  # of its length and outcome, in file order
    for length in np.unique(lengths):
        for outcome in (True, False):
            alike = np.flatnonzero((lengths == length) & (solved == outcome))
            nth[alike] = np.arange(len(alike))
    in_turn = np.lexsort((lengths, nth))
    yes, no = in_turn[solved[in_turn]], in_turn[~solved[in_turn]]
    half = max(count - count // 2, count - len(no))
    chosen = np.concatenate([yes[:half], no[: count - len(yes[:half])]])
    return chosen[np.lexsort((chosen, lengths[chosen]))]

"""What a config says about rectangles: its sections, and what the language has a say in elsewhere.

In no digest of code: what it gives to a stage is in that stage's slice of the config. Nothing heavy is imported, as
Snakemake reads the config every time it starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from progsem.languages.rectangles import permutations
from progsem.languages.rectangles.codes import ACTIONS, FIELD, STATEMENTS
from progsem.study.section import Section

if TYPE_CHECKING:
    from progsem.study.config import Study

FEATURES = DEFAULT_FEATURES = ("bounds", "first_point", "points_inside")
OF_BEGINNINGS = ("bounds",)  # the others follow from it: of two beginnings, they do not differ alone
DIFFICULTY_MATCHED = "exchanged"
ALTERNATIVES = {DIFFICULTY_MATCHED: dict(zip(ACTIONS, ("left", "right", "top", "bottom"), strict=True))}
WRITERS = ("strings", "manual")  # beyond those that any language has
MOST_PAIRS = len(permutations.mirror_pairs())  # of permutations
PROGRAMS = (FIELD * (FIELD + 1) // 2 - 1) ** 2  # different ones that are drawn
DEFAULTS = {"lm": {"predict_inputs": True}, "generalisation": {"sets": {}}}

Count = Annotated[int, Field(ge=1, le=80)]


class Worlds(Section):
    """How lists of points are drawn."""

    points: tuple[Count, Count] = Field((1, 20), description="of a list, fewest and most; uniform in between")

    @model_validator(mode="after")
    def _ordered(self):
        fewest, most = self.points
        if fewest > most:
            raise ValueError(f"worlds.points is [{fewest}, {most}]; give the smaller number first")
        return self

    @property
    def size(self) -> dict[str, int]:
        """Most points, by their key."""
        return {"points": self.points[1]}

    @property
    def described(self) -> str:
        """In a few words."""
        return f"{self.points[0]} to {self.points[1]} points on {FIELD} × {FIELD} cells"


class Programs(Section):
    """Programs have four numbers, without anything to be chosen."""

    @property
    def longest(self) -> int:
        """Numbers of a program."""
        return len(ACTIONS)

    @property
    def train_length(self) -> tuple[int, int]:
        """Numbers of a training program, fewest and most."""
        return self.longest, self.longest

    test_length = train_length

    @property
    def control_flow(self) -> float:
        """None."""
        return 0.0

    @property
    def depth(self) -> int:
        """Of blocks, which there are none of."""
        return 0

    @property
    def step_limit(self) -> int:
        """More than any program takes."""
        return self.longest + 1


def mirror_pairs(study: Study) -> tuple[tuple[str, str], ...]:
    """Names of all pairs of permutations, whatever is probed."""
    return permutations.mirror_pairs()


def check(study: Study) -> None:
    """Raise ValueError for what the language does not have."""
    if study.corpus.programs:
        raise ValueError("corpus.programs is given, but rectangles are not read from files; leave it empty")
    if study.tokens.encoding != "compact":
        raise ValueError(
            f"tokens.encoding is {study.tokens.encoding}, but rectangles are written a character a token; set it to "
            "compact"
        )
    if study.traces.outputs != "shown":
        raise ValueError(
            f"traces.outputs is {study.traces.outputs}, but the text of rectangles has no inputs beside the outputs; "
            "set it to shown"
        )
    if study.generalisation.sets:
        raise ValueError(
            f"generalisation.sets has {', '.join(study.generalisation.sets)}, but all rectangles have four bounds on "
            "one field; set it to {}"
        )
    if study.traces.extra_statements < 1:
        raise ValueError(
            "traces.extra_statements is 0, which leaves no room to end a program of four numbers; give at least 1"
        )


def specifications(worlds: Worlds, programs: Programs, examples: int, shortest: int, longest: int) -> int:
    """Upper bound of how many specifications there are with so many examples."""
    fewest, most = worlds.points
    return PROGRAMS * sum(FIELD ** (2 * points) for points in range(fewest, most + 1)) ** examples


def prompt_tokens(encoding: str, worlds: Worlds, examples: int) -> int:
    """Tokens of a specification, up to where a program begins."""
    return 2 + 3 * examples * worlds.points[1]


def program_tokens(encoding: str, codes: float) -> float:
    """Upper bound of the tokens of a program of so many codes, its end included."""
    return 2 * codes


def usual_codes(programs: Programs, statements: float) -> float:
    """Codes of a program of so many numbers."""
    return statements


def world_bytes(worlds: Worlds) -> int:
    """Bytes of a list before and after a program was asked about it, as arrays."""
    return 5 * worlds.points[1]


def control_widths(worlds: Worlds, programs: Programs) -> dict[str, int]:
    """Upper bounds of the numbers that probes are given by the controls of these names: counts, and one-hot the others.

    `text` has for each point row, column and sign, and the program.
    """
    prefix = STATEMENTS * len(ACTIONS)
    places = 2 * FIELD * worlds.points[1]
    return {"counts": STATEMENTS, "prefix": prefix, "start": places, "text": places + 3 * worlds.points[1] + prefix}

"""What a config says about Karel: its sections, and what the language has a say in elsewhere.

In no digest of code: what it gives to a stage is in that stage's slice of the config. Nothing heavy is imported, as
Snakemake reads the config every time it starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from progsem.languages.karel import permutations
from progsem.languages.karel.codes import ACTIONS, CODES, most_codes
from progsem.study.section import Lengths, Probability, Section

if TYPE_CHECKING:
    from progsem.study.config import Study

FEATURES = (
    "facing",
    "offset_from_start",
    "offset_from_end",
    "wall_ahead",
    "position",
    "neighbour_walls",
    "markers",
    "branch",
)
OF_BEGINNINGS = tuple(name for name in FEATURES if name not in ("offset_from_end", "branch"))  # known halfway through
DEFAULT_FEATURES = ("facing", "offset_from_start", "wall_ahead")
# Those of the authors' public code: statement -> what it now means.
ALTERNATIVES = {
    name: dict(zip(ACTIONS, meanings, strict=True))
    for name, meanings in {
        "alt-0": ("put_marker", "pick_marker", "turn_right", "turn_left", "move"),
        "alt-3": ("turn_right", "turn_left", "turn_right", "move", "turn_left"),
        "alt-5": ("put_marker", "pick_marker", "turn_right", "move", "turn_left"),
        "alt-8": ("put_marker", "pick_marker", "move", "turn_right", "turn_left"),
        "alt-11": ("put_marker", "pick_marker", "move", "turn_left", "turn_right"),
    }.items()
}
DIFFICULTY_MATCHED = "alt-0"
WRITERS = ()  # beyond those that any language has
DEFAULTS: dict = {}  # other values than the config's own
MOST_PAIRS = len(permutations.mirror_pairs(True))  # of permutations


class Worlds(Section):
    """How input worlds are drawn (paper §3, data)."""

    height: int = Field(4, ge=2, le=30, description="rows of the grid, border of walls not counted")
    width: int = Field(4, ge=2, le=30, description="columns of the grid, border of walls not counted")
    wall_probability: Probability = Field(0.1, description="chance that a cell is a wall")
    marker_probability: Probability = Field(0.1, description="chance that a free cell holds a marker")

    @property
    def size(self) -> dict[str, int]:
        """Rows and columns, by their keys."""
        return {"height": self.height, "width": self.width}

    @property
    def described(self) -> str:
        """In a few words."""
        return f"{self.height} × {self.width} cells"

    def larger(self, cells: int) -> Worlds:
        """Such worlds with so many rows and columns more."""
        return self.model_copy(update={key: count + cells for key, count in self.size.items()})


class Weights(Section):
    """Relative frequency of each statement in sampled programs."""

    pick_marker: float = Field(2, ge=0, le=1_000_000, description="relative frequency of pick_marker()")
    put_marker: float = Field(2, ge=0, le=1_000_000, description="relative frequency of put_marker()")
    turn_left: float = Field(3, ge=0, le=1_000_000, description="relative frequency of turn_left()")
    turn_right: float = Field(3, ge=0, le=1_000_000, description="relative frequency of turn_right()")
    move: float = Field(5, ge=0, le=1_000_000, description="relative frequency of move()")

    @model_validator(mode="after")
    def _some_weight(self):
        if sum(self.model_dump().values()) <= 0:
            raise ValueError("programs.weights: all are 0; give at least one statement a positive weight")
        return self


class Programs(Section):
    """How programs are drawn."""

    train_length: Lengths = Field((1, 4), description="statements in a training program, uniform")
    test_length: Lengths = Field((1, 4), description="statements in a validation or test program, uniform")
    weights: Weights = Weights()
    control_flow: Probability = Field(
        0.0, description="chance that a statement is an if, ifelse, while or repeat instead of an action"
    )
    max_depth: int = Field(2, ge=1, le=4, description="deepest nesting of control flow")
    step_limit: int = Field(
        200, ge=1, le=100_000, description="executed actions and tests after which a program counts as not halting"
    )

    @model_validator(mode="after")
    def _ordered(self):
        for key in ("train_length", "test_length"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"programs.{key} is [{low}, {high}]; give the shorter length first")
        return self

    @property
    def depth(self) -> int:
        """Deepest nesting of blocks that programs have."""
        return self.max_depth if self.control_flow > 0 else 0

    @property
    def longest(self) -> int:
        """Most statements of a program in any split."""
        return max(self.train_length[1], self.test_length[1])


def mirror_pairs(study: Study) -> tuple[tuple[str, str], ...]:
    """Names of all pairs of permutations that differ by more than their names, given what is probed."""
    return permutations.mirror_pairs(permutations.markers_matter(study.programs, study.probes.features))


def check(study: Study) -> None:
    """Raise ValueError for what the language does not have."""
    if "branch" in study.probes.features and study.programs.control_flow == 0:
        raise ValueError(
            "probes.features has branch, but programs have no conditions; raise programs.control_flow, or leave "
            "branch out"
        )
    there = mirror_pairs(study)
    for section in ("interventions", "edits"):
        wanted = getattr(study, section).permutations
        if wanted > len(there):
            raise ValueError(
                f"{section}.permutations is {wanted}, but without conditions and the feature markers only "
                f"{len(there)} pairs differ by more than their names; give at most that"
            )
    for name, new in study.generalisation.sets.items():
        size = study.worlds.larger(new.cells).size
        if min(size.values()) < 2:
            raise ValueError(
                f"generalisation.sets.{name}.cells is {new.cells}, which leaves worlds of "
                f"{' x '.join(map(str, size.values()))} cells; give a number that leaves at least 2 rows and "
                "columns"
            )


def specifications(worlds: Worlds, programs: Programs, examples: int, shortest: int, longest: int) -> int:
    """Upper bound of how many specifications there are with so many examples and programs of so many statements."""
    cells = worlds.height * worlds.width
    free = worlds.wall_probability < 1
    kinds = (worlds.wall_probability > 0) + (free and worlds.marker_probability > 0)
    kinds += free and worlds.marker_probability < 1
    # The robot stands on one cell, with one of four headings.
    shown = (4 * cells * kinds ** (cells - 1)) ** examples
    actions = sum(weight > 0 for weight in programs.weights.model_dump().values())
    # 23 kinds of blocks may open before an action, or close behind it.
    blocks = 50**programs.max_depth if programs.control_flow > 0 else 1
    return shown * sum((actions * blocks) ** length for length in range(shortest, longest + 1))


def prompt_tokens(encoding: str, worlds: Worlds, examples: int) -> int:
    """Tokens of a specification, up to where a program begins."""
    of_cell, around = {"compact": (1, 3), "spaced": (2, 14)}[encoding]
    return around + of_cell * 2 * examples * worlds.height * worlds.width


def program_tokens(encoding: str, codes: float) -> float:
    """Upper bound of the tokens of a program of so many codes, its closing brace included."""
    return {"compact": 1, "spaced": 5}[encoding] * (codes + 1)


def usual_codes(programs: Programs, statements: float) -> float:
    """Codes of a program of so many statements; how many control flow adds is what sampled programs have, roughly."""
    return statements * (1 + 8 * programs.control_flow)


def world_bytes(worlds: Worlds) -> int:
    """Bytes of a world before and after a program ran in it, as arrays."""
    return 2 * worlds.height * worlds.width + 6


def control_widths(worlds: Worlds, programs: Programs) -> dict[str, int]:
    """Upper bounds of the numbers that probes are given by the controls of these names: counts, and one-hot the others.

    `text` has 15 glyphs for each cell of two grids, and the program.
    """
    codes = CODES if programs.control_flow > 0 else len(ACTIONS)
    prefix = codes * most_codes(programs)
    return {
        "counts": len(ACTIONS),
        "prefix": prefix,
        "start": worlds.height + worlds.width + 4,
        "text": 30 * worlds.height * worlds.width + prefix,
    }

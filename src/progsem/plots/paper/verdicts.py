"""Whether a number agrees with a claim: rules on numbers and their intervals alone.

A verdict is never stronger than the interval allows: "agrees" and "contradicts" want
all of it on one side. `RULES` says the rules to a reader, in the order of the functions.
"""

from __future__ import annotations

from dataclasses import dataclass

AGREES = "agrees"
COMPATIBLE = "compatible"
DIRECTION = "same direction"
SMALLER = "same direction, smaller"
LARGER = "same direction, larger"
FOUND = "found"
NOT_FOUND = "not found"
CONTRADICTS = "contradicts"
OPPOSITE = "opposite direction"
UNDECIDED = "undecided"
NOT_MEASURED = "not measured in this study"

LEVEL_MARGIN = 0.05  # within which of the paper's value a share counts as the same
R2_MARGIN = 0.1  # the same for R²
ABOVE, BELOW, AROUND, UNKNOWN = "above", "below", "around", "unknown"

RULES = {
    "A share (claims 1 and 2)": (
        "First the direction: has it risen from the untrained model (or the first checkpoint that could be probed)? By "
        "the paired difference where there is one, else if the two intervals do not overlap. If the interval of the "
        "rise holds 0, *not found*; if it is below, *contradicts*. Then the level, if the study has the paper's size: "
        f"*agrees* if the whole interval is within {100 * LEVEL_MARGIN:.0f} points of the paper's value, *compatible* "
        "if it holds that value but is wider, else *same direction, smaller* or *larger*. At another size the level is "
        "that of another task, and an interval with the paper's value in it is no more than *same direction*."
    ),
    "A straight line (claim 3)": (
        "*contradicts* if the slope's interval is below 0, *not found* if it holds 0. Else *agrees* if the whole "
        f"interval of R² is within {R2_MARGIN:g} of the paper's value, *compatible* if it holds that value but is "
        "wider, *same direction, smaller* or *larger* if it does not."
    ),
    "Phases (claim 4)": (
        "*agrees* if every language model has checkpoints of all three phases, in order; *same direction* if programs "
        "get right but a phase has no checkpoint of its own; *not found* if they hardly get better."
    ),
    "States at an offset (claim 5)": (
        "*not found* if the interval holds 0 (always giving the most frequent answer) or is below it; *agrees* if it "
        "is above 0 and above the interval of the untrained model (or the first checkpoint that could be probed); "
        "*same direction* if it is above 0 only."
    ),
    "Original against an alternative (claim 6)": (
        "*not found* if the interval of the difference holds 0, *undecided* if the difference is none after Holm's "
        "correction. Else, for the difficulty-matched alternative, *agrees* above 0 and *contradicts* below; for any "
        "other *same direction* or *opposite direction*, as labels that are not equally hard differ without any model."
    ),
    "Mirror pairs (claim 6)": (
        "*not found* if the interval of the original's own difference is not above 0. Else *agrees* if the share of "
        "pairs that differ by as much, its own included, is at most 1 − the confidence of the intervals; *undecided* "
        "if there are too few pairs for such a share; else *not found*."
    ),
    "Lengths and perplexities (claim 7)": (
        "*agrees* if the interval of the difference (of perplexities: both intervals) is on the claimed side, "
        "*contradicts* if it is on the other, else *not found*."
    ),
    "Edits (+, not asked by the paper)": (
        "*found* if the interval of the effect, or of the difference, is above 0, *opposite direction* if it is below, "
        "else *not found*."
    ),
}


@dataclass(frozen=True)
class Measured:
    """An estimate with the ends of its interval; None for what there is not."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, row: dict | None, key: str, interval: str | None = None) -> Measured:
        """That of a table's row; columns of the interval begin with `interval` (default: `key`)."""
        if row is None:
            return cls(None)
        return cls(row[key], *(row[f"{interval or key}_{end}"] for end in ("low", "high")))

    def side(self, of: float = 0.0) -> str:
        """On which side of a number the interval is; one that touches it is around it."""
        if None in (self.value, self.low, self.high):
            return UNKNOWN
        return ABOVE if self.low > of else BELOW if self.high < of else AROUND

    def beyond(self, other: Measured) -> str:
        """On which side of another interval this one is; around it if they overlap."""
        if UNKNOWN in (self.side(), other.side()):
            return UNKNOWN
        return ABOVE if self.low > other.high else BELOW if self.high < other.low else AROUND


@dataclass(frozen=True)
class Verdict:
    """A verdict in a word or two, and why."""

    word: str
    reason: str = ""


def level(measured: Measured, rise: str, first: str, paper: float, same_size: bool) -> Verdict:
    """A share that the paper gives; `rise`: on which side of the first checkpoint's it is, which is called `first`."""
    if measured.value is None:
        return Verdict(NOT_MEASURED, "nothing to probe at the last checkpoint")
    if rise == UNKNOWN or measured.side() == UNKNOWN:
        return Verdict(UNDECIDED, "nothing to compare it with")
    if rise == BELOW:
        return Verdict(CONTRADICTS, f"below {first}")
    if rise == AROUND:
        return Verdict(NOT_FOUND, f"not above {first}")
    if not same_size and measured.side(paper) == AROUND:
        return Verdict(DIRECTION, f"above {first}")
    return _near(measured, paper, LEVEL_MARGIN, f"above {first}")


def relation(r2: Measured, slope: Measured, paper: float) -> Verdict:
    """A straight line with that R²; `slope` of semantic content over generative accuracy."""
    if r2.value is None:
        return Verdict(NOT_MEASURED, "too few checkpoints, or nothing changes over them")
    side = slope.side()
    if UNKNOWN in (side, r2.side()):
        return Verdict(UNDECIDED, "no interval")
    if side == BELOW:
        return Verdict(CONTRADICTS, "one falls as the other rises")
    if side == AROUND:
        return Verdict(NOT_FOUND, "the slope's interval includes 0")
    return _near(r2, paper, R2_MARGIN, "both rise together")


def _near(measured: Measured, paper: float, margin: float, reason: str) -> Verdict:
    """How a value whose direction is right compares with the paper's."""
    side = measured.side(paper)
    if side == BELOW:
        return Verdict(SMALLER, f"{reason}, below the paper")
    if side == ABOVE:
        return Verdict(LARGER, f"{reason}, above the paper")
    if paper - margin <= measured.low and measured.high <= paper + margin:
        return Verdict(AGREES, f"{reason}, as in the paper")
    return Verdict(COMPATIBLE, f"{reason}, the interval includes the paper's value")


def phases(by_model: list[dict], first: int) -> Verdict:
    """Three phases in order.

    `by_model` says of each language model the steps syntax_start and semantics_start, or
    None; `first` is the first trained checkpoint.
    """
    lacking = [_lacking(one["syntax_start"], one["semantics_start"], first) for one in by_model]
    if all(phase == "semantics" for phase in lacking):
        return Verdict(NOT_FOUND, "programs hardly get better")
    if not any(lacking):
        return Verdict(AGREES, "all three, in this order")
    missing = " and ".join(sorted({phase for phase in lacking if phase}))
    models = f" in {sum(map(bool, lacking))} of {len(lacking)} language models" if len(lacking) > 1 else ""
    return Verdict(DIRECTION, f"no checkpoint of {missing} alone{models}")


def _lacking(syntax: int | None, semantics: int | None, first: int) -> str:
    """The phase that has no checkpoint to itself; empty if each has one."""
    if semantics is None:
        return "semantics"
    if syntax is None or syntax >= semantics:
        return "syntax"
    return "babbling" if syntax <= first else ""


def readable(corrected: Measured, before: Measured, first: str) -> Verdict:
    """States can be read, and that is learned; `before`: at the first checkpoint, which is called `first`."""
    if corrected.value is None:
        return Verdict(NOT_MEASURED, "nothing to probe at the last checkpoint")
    side = corrected.side()
    if side == UNKNOWN:
        return Verdict(UNDECIDED, "no interval")
    if side != ABOVE:
        return Verdict(NOT_FOUND, "not above the most frequent answer")
    if corrected.beyond(before) == ABOVE:
        return Verdict(AGREES, f"above the most frequent answer and {first}")
    found = f"not {first}" if before.value is not None else "with nothing earlier to compare it with"
    return Verdict(DIRECTION, f"above the most frequent answer, {found}")


def ahead(difference: Measured, p: float | None, alpha: float, matched: bool) -> Verdict:
    """The original is easier to read than an alternative; p after Holm's correction."""
    if difference.value is None:
        return Verdict(NOT_MEASURED, "nothing to compare at the last checkpoint")
    side = difference.side()
    if side == UNKNOWN:
        return Verdict(UNDECIDED, "no interval")
    if side == AROUND:
        return Verdict(NOT_FOUND, "the interval includes 0")
    if p is None or p >= alpha:
        return Verdict(UNDECIDED, "the interval is off 0, but not after Holm's correction")
    if not matched:
        word, easier = (DIRECTION, "original") if side == ABOVE else (OPPOSITE, "alternative")
        return Verdict(word, f"the {easier} is easier to read, but these labels need not be as hard")
    if side == BELOW:
        return Verdict(CONTRADICTS, "the alternative is easier to read, with labels that are as hard")
    return Verdict(AGREES, "the original is easier to read than labels that are as hard")


def ranked(difference: Measured, p: float, pairs: int, alpha: float) -> Verdict:
    """The original's pair among all mirror pairs: its difference, and the `p` of a permutation test."""
    if difference.side() != ABOVE:
        return Verdict(NOT_FOUND, "its own difference is not above 0")
    if 1 / pairs > alpha:
        return Verdict(UNDECIDED, f"{pairs} pairs are too few for a p below {1 / pairs:.2f}")
    if p > alpha:
        return Verdict(NOT_FOUND, "other pairs differ by as much")
    return Verdict(AGREES, "ahead by more than in other pairs")


def shorter(difference: Measured) -> Verdict:
    """A difference of lengths is below 0."""
    if difference.value is None:
        return Verdict(NOT_MEASURED, "no program is right")
    return _as_claimed(difference.side(), BELOW, "shorter", "longer", "the interval includes 0")


def used(effect: Measured) -> Verdict:
    """An edit moves what the model does to where it was to go, or further than another edit."""
    if effect.value is None:
        return Verdict(NOT_MEASURED, "no pair of states after which the model does something else")
    words = {ABOVE: (FOUND, "above 0"), BELOW: (OPPOSITE, "below 0"), AROUND: (NOT_FOUND, "the interval includes 0")}
    return Verdict(*words.get(effect.side(), (UNDECIDED, "no interval")))


def higher(first: Measured, second: Measured) -> Verdict:
    """The first perplexity is higher than the second."""
    return _as_claimed(first.beyond(second), ABOVE, "higher", "lower", "the intervals overlap")


def _as_claimed(side: str, claimed: str, right: str, wrong: str, neither: str) -> Verdict:
    """Whether an interval is on the claimed side."""
    if side == UNKNOWN:
        return Verdict(UNDECIDED, "no interval")
    if side == AROUND:
        return Verdict(NOT_FOUND, neither)
    return Verdict(AGREES, right) if side == claimed else Verdict(CONTRADICTS, wrong)

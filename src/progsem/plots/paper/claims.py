"""The paper's claims beside this study's numbers.

The claims are those of Jin & Rinard (ICML 2024), in our words and the paper's order;
`verdicts` says when a number agrees with one, `page` makes a page of them. Where
the paper gives no number, or none that we could read, it is said in words.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path

from progsem.plots import findings, style
from progsem.plots.paper import verdicts
from progsem.plots.paper.verdicts import Measured, Verdict
from progsem.plots.style import Results
from progsem.storage.files import write_csv
from progsem.study.vocabulary import FORCED, ORIGINAL, UNEDITED, WEIGHTS

ACCURACY = 0.924  # of 10 000 test specifications
CONTENT = {"linear": 0.632, "mlp1": 0.791, "mlp2": 0.823}
R2 = 0.88
LAYERS, WIDTH = 20, 1024  # of the paper's language model
DATA = {"height": 6, "width": 6, "examples": 5, "train_length": (6, 10)}
BEYOND = "+"  # in the column `claim`: not asked by the paper
BETWEEN = "between"  # in the column `claim`: no claim, but what stands between a number and its meaning
# Baseline -> head of its column.
BASELINES = {
    "untrained": "− untrained model",
    "input_only": "− input only",
    "text": "− text",
    "shuffled": "− shuffled labels",
}
MIRROR = {"first": "original − mirror image, untrained", "last": "original − mirror image, last"}


@dataclass(frozen=True)
class Line:
    """One claim, or one number that stands between: a row of the CSV.

    `paper` and `here` are texts; value, low and high are what `here` says, in `unit`; p is
    after Holm's correction where there is a family. A `reason` belongs to its `verdict`.
    Empty where there is none.
    """

    claim: str
    what: str
    source: str = ""
    depth: str = ""
    paper: str = ""
    here: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    p: float | None = None
    n: int | None = None
    n_of: str = ""
    verdict: str = ""
    reason: str = ""


def write(results: Results, lines: list[Line], path: Path) -> None:
    """Write lines as CSV, the study and its last step before each."""
    columns = ["study", "step", *(field.name for field in fields(Line))]
    at = {"study": results.summary["study"], "step": results.summary["step"]}
    write_csv(path, columns, [[row[name] for name in columns] for row in (at | asdict(line) for line in lines)])


# Unit -> how a number in it is written: format, factor, what follows.
UNITS = {
    "share": (".1f", 100, "%"),
    "difference of shares": ("+.1f", 100, " points"),
    "statements": ("+.2f", 1, " statements"),
    "R²": (".2f", 1, ""),
    "perplexity": (".2f", 1, ""),
}


def line(verdict: Verdict, measured: Measured, unit: str, n: tuple[int | None, str], p=None, **more: str) -> Line:
    """A line whose text is made from its numbers; `n` with what it counts."""
    form, scale, after = UNITS[unit]
    here = style.spelt(measured.value, measured.low, measured.high, form, scale, after)
    if here:
        here += (f", {style.p_value(p)}" if p is not None else "") + f"; n = {n[0]:,} {n[1]}"
    return Line(
        here=here or "–",
        value=measured.value,
        low=measured.low,
        high=measured.high,
        unit=unit,
        p=p,
        n=n[0],
        n_of=n[1],
        verdict=verdict.word,
        reason=verdict.reason,
        **more,
    )


def claims(results: Results) -> list[Line]:
    """Every claim with what came out here, in the paper's order."""
    parts = (accuracy, contents, straight_line, phases, offsets, alternatives, mirror_pairs, lengths, perplexity, edits)
    return [one for part in parts for one in part(results)]


def accuracy(results: Results) -> list[Line]:
    """1: programs that satisfy their specification."""
    first, last = _ends(results.rows("checkpoints", lm_seed=results.headline), results)
    measured = Measured.of(last, "generative_accuracy")
    rise = measured.beyond(Measured.of(first, "generative_accuracy"))
    verdict = verdicts.level(measured, rise, _named(first), ACCURACY, same_size(results))
    what = "Greedily decoded programs that are right on every example shown"
    n = (last["n_test"], "specifications")
    return [line(verdict, measured, "share", n, claim="1", what=what, paper=f"{ACCURACY:.1%}")]


def contents(results: Results) -> list[Line]:
    """2: semantic content, by source and depth."""
    lines = []
    for source, depth in product(results.sources, results.depths):
        first, last = _ends(results.headline_rows("probes", source, semantics="original", depth=depth), results)
        measured = Measured.of(last, "accuracy")
        where = {"step": results.summary["step"], "depth": depth, "baseline": "untrained"}
        gain = Measured.of(_one(results.headline_rows("baselines", source, **where)), "difference")
        rise = (
            gain.side()
            if gain.value is not None
            else Measured.of(last, "corrected").beyond(Measured.of(first, "corrected"))
        )
        lines.append(
            line(
                verdicts.level(measured, rise, _named(first), CONTENT[depth], same_size(results)),
                measured,
                "share",
                _states(last),
                claim="2",
                what="The present program state can be read out of the hidden states (accuracy)",
                source=source,
                depth=depth,
                paper=f"{CONTENT[depth]:.1%}",
            )
        )
    return lines


def straight_line(results: Results) -> list[Line]:
    """3: semantic content over generative accuracy, by source and depth."""
    where = {"lm_seed": results.headline, "states": results.states, "measure": "raw", "points": "levels"}
    lines = []
    for source, depth in product(results.sources, results.depths):
        row = _one(results.rows("regression", source=source, depth=depth, **where))
        if row is None:
            continue
        measured = Measured.of(row, "r2")
        lines.append(
            line(
                verdicts.relation(measured, Measured.of(row, "slope"), R2),
                measured,
                "R²",
                (row["n_points"], "checkpoints"),
                claim="3",
                what="Over the training, that accuracy and the share of right programs lie on a straight line (R²)",
                source=source,
                depth=depth,
                paper=f"{R2:.2f}",
            )
        )
    return lines


def phases(results: Results) -> list[Line]:
    """4: babbling, syntax, semantics."""
    found = results.summary["phases"]
    trained = [row["step"] for row in results.summary["checkpoints"] if row["step"] > 0]
    by_model = list(found["by_seed"].values())
    verdict = verdicts.phases(by_model, trained[0])
    starts = {
        name: Measured(found[f"{name}_start"], *(found[f"{name}_start_ci"] or ())) for name in ("syntax", "semantics")
    }
    spelt = {name: style.spelt(start.value, start.low, start.high, ",") for name, start in starts.items()}
    here = ", ".join(f"{name} from step {step}" for name, step in spelt.items() if step) or "no phase begins"
    n_of = "checkpoints" + (f" of each of {len(by_model)} language models" if len(by_model) > 1 else "")
    return [
        Line(
            claim="4",
            what="Outputs are monotonous at first (babbling), then varied (syntax), then right (semantics)",
            paper="in this order",
            here=f"{here}; n = {len(trained)} {n_of}",
            n=len(trained),
            n_of=n_of,
            verdict=verdict.word,
            reason=verdict.reason,
        )
    ]


def offsets(results: Results) -> list[Line]:
    """5: past and future states, with the deepest probe."""
    depth, lines = results.depths[-1], []
    rows = [row for row in results.headline_rows("offsets", depth=depth) if row["offset"] != 0]
    for offset in sorted({row["offset"] for row in rows}):
        first, last = _ends([row for row in rows if row["offset"] == offset], results)
        measured = Measured.of(last, "corrected")
        statements = f"{abs(offset)} statement{'s' if abs(offset) > 1 else ''}"
        lines.append(
            line(
                verdicts.readable(measured, Measured.of(first, "corrected"), _named(first)),
                measured,
                "share",
                _states(last),
                claim="5",
                what=f"So can the state {statements} {'ago' if offset < 0 else 'ahead'} (corrected accuracy)",
                source=results.sources[0],
                depth=depth,
                paper="yes",
            )
        )
    return lines or [_unmeasured("5", "So can states of the past and the future", "yes")]


def alternatives(results: Results) -> list[Line]:
    """6: the original against the difficulty-matched alternative by source and depth, and against the others."""
    alpha, last = 1 - results.summary["intervals"]["confidence"], results.summary["step"]
    lines = []
    for name, about in results.summary["alternatives"].items():
        matched = about["difficulty_matched"]
        settings = product(results.sources, results.depths) if matched else [(results.sources[0], results.depths[-1])]
        for source, depth in settings:
            where = {"family": "named", "offset": 0, "step": last, "depth": depth, "alternative": name}
            row = _one(results.headline_rows("alternatives", source, **where))
            measured, p = Measured.of(row, "difference", "ci"), row and row["p_holm"]
            lines.append(
                line(
                    verdicts.ahead(measured, p, alpha, matched),
                    measured,
                    "difference of shares",
                    _states(row),
                    p,
                    claim="6",
                    what=f"The true meaning is easier to read than {name}, {hardness(row, matched)} (difference)",
                    source=source,
                    depth=depth,
                    paper="yes, significantly",
                )
            )
    return lines or [_unmeasured("6", "The true meaning is easier to read than others", "yes, significantly")]


def hardness(row: dict | None, matched: bool) -> str:
    """How hard an alternative's labels are, beside the original's."""
    if matched:
        return "whose labels are as hard"
    if row is None or None in (row["entropy_alternative"], row["entropy_original"]):
        return "whose labels need not be as hard"
    return f"whose labels have {row['entropy_alternative']:.2f} bits (its own: {row['entropy_original']:.2f})"


def mirror_pairs(results: Results) -> list[Line]:
    """6: the original's pair among all pairs of mirror images, at each depth."""
    what = "It is further ahead of its mirror image than other meanings are of theirs (rank by size)"
    alpha = 1 - results.summary["intervals"]["confidence"]
    where = {"lm_seed": results.headline, "source": results.sources[0], "states": results.states}
    rows, lines = results.rows("permutations", **where), []
    for depth in results.depths:
        ranked = results.rank(results.sources[0], depth)
        if ranked is None:
            continue
        place, p, pairs = ranked["rank"], ranked["p"], 1 + ranked["other_pairs"]
        own = _one([row for row in rows if (row["depth"], row["first"]) == (depth, ORIGINAL)])
        verdict = verdicts.ranked(Measured.of(own, "difference", "ci"), p, pairs, alpha)
        lines.append(
            Line(
                claim="6",
                what=what,
                source=results.sources[0],
                depth=depth,
                paper="not asked",
                here=f"{place} of {pairs} pairs, {style.p_value(p)}",
                value=place,
                unit="rank",
                p=p,
                n=pairs,
                n_of="pairs",
                verdict=verdict.word,
                reason=verdict.reason,
            )
        )
    return lines or [_unmeasured("6", what, "not asked")]


def lengths(results: Results) -> list[Line]:
    """7: right programs against those of the training, and against those that their specifications were made from."""
    compared = {
        "correct_vs_training": ("Right programs are shorter than those of the training", "yes"),
        "correct_vs_their_references": ("They are shorter than those their specifications were made from", "not asked"),
    }
    lines = []
    for comparison, (what, paper) in compared.items():
        where = {"lm_seed": results.headline, "step": results.summary["step"], "comparison": comparison}
        row = _one(results.rows("length_tests", **where))
        measured = Measured.of(row, "difference")
        verdict, n = verdicts.shorter(measured), (row and row["n"], "right programs")
        more = {"claim": "7", "what": what, "paper": paper}
        lines.append(line(verdict, measured, "statements", n, row and row["p"], **more))
    return lines


def perplexity(results: Results) -> list[Line]:
    """7: the language model's own programs are not like those of the corpus."""
    _, row = _ends(results.rows("checkpoints", lm_seed=results.headline), results)
    corpus, own = (Measured.of(row, f"perplexity_{kind}") for kind in ("reference", "generated"))
    beside = style.spelt(own.value, own.low, own.high, ".2f")
    what = f"Programs of the corpus stay more surprising to it than its own (perplexity; its own: {beside})"
    n = (row["n_test"], "programs")
    return [line(verdicts.higher(corpus, own), corpus, "perplexity", n, claim="7", what=what, paper="yes")]


def edits(results: Results) -> list[Line]:
    """Beyond the paper: whether what is read is used, by feature; nothing where nothing was edited."""
    last = {"lm_seed": results.headline, "step": results.summary["step"], "semantics": ORIGINAL}
    lines = [
        _edit(None, "effect", "n_apart", f"What is read as {row['feature'].replace('_', ' ')} is used: no pairs")
        for row in results.rows("edits", edit=UNEDITED, n_pairs=0, **last)
    ]
    best = findings.learned(results)
    if best is None:
        return lines
    edit, layer = best
    matched = findings.matched(results)
    where = {"edit": edit, "layer": layer, "source": "donor"}
    moved = "so far to what it is in the other state (effect, from another specification)"
    for feature in dict.fromkeys(row["feature"] for row in findings.edited(results)):
        named = feature.replace("_", " ")
        for name, what in (
            (WEIGHTS, f"What linear probes read as {named} is used: an edit of it moves the next statement {moved}"),
            (edit, f"A learned subspace that holds {named} is: an edit of it moves the next statement {moved}"),
        ):
            at = where | {"feature": feature, "edit": name, "semantics": ORIGINAL}
            lines.append(_edit(_one(findings.edited(results, **at)), "effect", "n_apart", what))
        rows = results.rows(
            "edits_compared",
            lm_seed=results.headline,
            step=results.summary["step"],
            semantics=matched,
            feature=feature,
            **where,
        )
        if rows:
            lines.append(
                _edit(rows[0], "difference", "n_original", f"More than one learned for {named} under {matched}")
            )
    return lines


def _edit(row: dict | None, key: str, n: str, what: str) -> Line:
    measured = Measured.of(row, key)
    more = {"claim": BEYOND, "what": what, "paper": "not asked", "source": FORCED}
    unit = "share" if key == "effect" else "difference of shares"
    return line(verdicts.used(measured), measured, unit, (row and row[n], "pairs"), **more)


def between(results: Results) -> list[Line]:
    """By source and depth: model less each baseline, and the gap to the difficulty-matched alternative at both ends."""
    matched = findings.matched(results)
    where = {"lm_seed": results.headline, "states": results.states, "feature": "mean"}
    last = results.rows("baselines", step=results.summary["step"], **where)
    gaps = results.rows("alternatives", family="named", offset=0, alternative=matched, **where)
    lines = []
    for source in results.sources:
        for depth in results.depths:
            at = {"claim": BETWEEN, "source": source, "depth": depth}

            def here(rows: list[dict], place: tuple = (source, depth)) -> list[dict]:
                return [row for row in rows if (row["source"], row["depth"]) == place]

            baselines = {row["baseline"]: row for row in here(last)}
            for name, head in BASELINES.items():
                lines.append(_difference(baselines.get(name), "difference", what=head, **at))
            for step, head in zip((0, results.summary["step"]), MIRROR.values(), strict=True):
                gap = _one([row for row in here(gaps) if row["step"] == step])
                lines.append(_difference(gap, "ci", what=head, **at))
    return lines


def _difference(row: dict | None, interval: str, **more: str) -> Line:
    """A difference of corrected accuracies as a line without a verdict."""
    verdict = Verdict("") if row else Verdict(verdicts.NOT_MEASURED)
    return line(verdict, Measured.of(row, "difference", interval), "difference of shares", _states(row), **more)


def same_size(results: Results) -> bool:
    """Whether the study has the paper's data and a language model that is no smaller."""
    worlds, corpus, programs, lm = (results.sections[name] for name in ("worlds", "corpus", "programs", "lm"))
    here = {
        **worlds.size,
        "examples": corpus.examples,
        "train_length": programs.train_length,
    }
    return here == DATA and lm.layers >= LAYERS and lm.width >= WIDTH


def _ends(rows: list[dict], results: Results) -> tuple[dict | None, dict | None]:
    """The first of the rows of a curve, unless it is the last one, and that of the last checkpoint."""
    last = _one([row for row in rows if row["step"] == results.summary["step"]])
    return (rows[0] if rows and rows[0] is not last else None), last


def _named(row: dict | None) -> str:
    """The checkpoint of a row, for a verdict; the untrained one is not always probed."""
    return "the untrained model" if row is None or row["step"] == 0 else f"step {row['step']:,}, the first with states"


def _one(rows: list[dict]) -> dict | None:
    """The only row, or None."""
    return rows[0] if rows else None


def _states(row: dict | None) -> tuple[int | None, str]:
    """How many states a row is of."""
    return row and row["n_states"], "states"


def _unmeasured(claim: str, what: str, paper: str) -> Line:
    """A claim that the study has nothing on."""
    reason = "not asked for, or nothing to probe"
    return Line(claim=claim, what=what, paper=paper, here="–", verdict=verdicts.NOT_MEASURED, reason=reason)

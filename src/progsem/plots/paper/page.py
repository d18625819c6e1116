"""`paper_vs_ours.md`: the paper's claims, this study's numbers, verdicts, and what stands between."""

from __future__ import annotations

from pathlib import Path

from progsem.plots import style
from progsem.plots.paper import claims, verdicts
from progsem.plots.paper.claims import BASELINES, MIRROR, Line
from progsem.plots.style import Results
from progsem.storage.files import replacing

NAME = "paper_vs_ours"
PAPER = (
    "Jin & Rinard, [Emergent Representations of Program Semantics in Language Models Trained on "
    "Programs](https://arxiv.org/abs/2305.11169), ICML 2024"
)
OTHER_SIZE = (
    "The paper has worlds of 6 × 6, five examples, programs of six to ten statements, and a language model of 350 "
    "million parameters, trained on 2.5 billion tokens. This study has another size: compare directions, not levels."
)
STANDS_BETWEEN = (
    "A probe reads states from less than a trained model, too, and one meaning can be easier to read than another for "
    "reasons that are not the model's. The first columns are corrected accuracies of the trained model less those of "
    "the same probes on other things, in percentage points:"
)
MEANINGS = {
    "untrained": "the hidden states before training",
    "input_only": "without any model: statement counts, the program so far or the start, whichever is best",
    "text": "without any model: all that stands in the text about the first example",
    "shuffled": "random labels in the place of the states: the selectivity of the control task (Hewitt & Liang 2019)",
}
MIRROR_MEANING = (
    "the gap to the difficulty-matched alternative before the training and at its end. What is there before has not "
    "been learned"
)


BEND = (
    "Claim 3 is about programs that the model writes in the paper. Which these are changes over the training: early "
    "models write few different ones, often of a statement or two, whose states are easy to read or to guess, so the "
    "points of early checkpoints lie off any line. Fixed programs are the same at every checkpoint, and their line is "
    "not bent by that."
)


def write(results: Results, folder: Path) -> None:
    """Write the page and, beside it, its numbers as CSV."""
    lines, between = claims.claims(results), claims.between(results)
    with replacing(folder / f"{NAME}.md") as temporary:
        temporary.write_text(page(results, lines, between), encoding="utf-8")
    claims.write(results, lines + between, folder / f"{NAME}.csv")


def page(results: Results, lines: list[Line], between: list[Line]) -> str:
    """The whole page as Markdown."""
    heads = [*BASELINES.values(), *MIRROR.values()]
    parts = [
        f"# {results.title}: the paper's claims and this study's numbers",
        "\n".join(f"- {sentence}" for sentence in header(results)),
        "## Claim by claim",
        table(
            ["", "claim", "states", "probe", "the paper", f"here (`{results.summary['study']}`)", "verdict"],
            cells(lines),
        ),
        BEND,
        "### When a verdict is given",
        "\n".join(f"- **{name}**: {rule}" for name, rule in verdicts.RULES.items()),
        "## What stands between",
        STANDS_BETWEEN,
        "\n".join(
            [f"- *{head}*: {MEANINGS[name]}" for name, head in BASELINES.items()]
            + [f"- *{' / '.join(MIRROR.values())}*: {MIRROR_MEANING}"]
        ),
        table(["states", "probe", *heads], between_cells(results, between, heads)),
    ]
    empty = [head for head in heads if all(one.value is None for one in between if one.what == head)]
    if empty:
        parts.append(f"Not measured in this study: {'; '.join(empty)}.")
    return "\n\n".join(parts) + "\n"


def header(results: Results) -> list[str]:
    """What the numbers are of, in sentences."""
    n, last = results.summary["n"], results.summary["checkpoints"][-1]
    worlds, corpus, programs, lm = (results.sections[name] for name in ("worlds", "corpus", "programs", "lm"))
    about = results.summary["intervals"]
    kind = "programs with control flow" if programs.control_flow else "straight-line programs"
    shortest, longest = programs.train_length
    steps = f"{last['step']:,} steps"
    trained = f"trained elsewhere, {steps}" if lm.checkpoints else f"trained for {steps} ({last['tokens']:,} tokens)"
    return [
        f"Paper: {PAPER}.",
        f"Language model: {lm.architecture}, {count(lm.layers, 'layer')} of width {lm.width}, {trained}; "
        f"{count(n['lm_seeds'], 'model')}.",
        f"Data: worlds of {worlds.described}, {count(corpus.examples, 'example')}, {kind} of {shortest} "
        f"to {longest} statements; {n['training_programs']:,} training programs, {n['test_programs']:,} test "
        "specifications.",
        f"States: {style.SOURCE_NAMES[results.sources[0]]}, {style.STATE_NAMES[results.states]}; mean over "
        f"{results.features()}; {count(n['probe_seeds'], 'probe')} of each kind. Corrected accuracy: 0 is always "
        "giving the most frequent answer, 100% never being wrong.",
        f"Brackets: {about['confidence']:.0%} intervals: {about['kind']}. Of R²: {about['r2']}.",
        "This study has the paper's size." if claims.same_size(results) else OTHER_SIZE,
    ]


def cells(lines: list[Line]) -> list[list[str]]:
    """The first table; a claim that goes on over several rows is said once."""
    rows, before = [], None
    for one in lines:
        said = (one.claim, one.what)
        verdict = f"**{one.verdict}**" + (f": {one.reason}" if one.reason else "")
        claim, what = said if said != before else ("", "")
        states = style.SOURCE_NAMES.get(one.source, "")
        rows.append([claim, what, states, style.DEPTH_NAMES.get(one.depth, ""), one.paper, one.here, verdict])
        before = said
    return rows


def between_cells(results: Results, between: list[Line], heads: list[str]) -> list[list[str]]:
    """The second table: a row for each source and depth."""
    rows = []
    for source in results.sources:
        for depth in results.depths:
            here = {one.what: one for one in between if (one.source, one.depth) == (source, depth)}
            numbers = [style.points(here[head].value, here[head].low, here[head].high) or "–" for head in heads]
            rows.append([style.SOURCE_NAMES[source], style.DEPTH_NAMES[depth], *numbers])
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def count(number: int, what: str) -> str:
    """1 thing, 2 things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"

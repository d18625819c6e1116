"""How many specifications writers solve with a budget of proposals, with how long programs, and over the training."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from progsem.languages import LANGUAGE
from progsem.plots import findings, style
from progsem.plots.style import Results
from progsem.study.vocabulary import BEAM, GREEDY, PRETRAINED, TEMPERATURE, TOP_P

PLAIN = {  # name -> in the legend, marker
    "uniform": ("uniform over the grammar", "v"),
    "corpus": ("the corpus' distribution", "^"),
    "unigram": ("regressions, one a place", "<"),
    "bigram": ("regressions, told the statement before", ">"),
    "enumeration": ("all programs, shortest first", "x"),
}
MODELS = {GREEDY: ("greedy", "*"), TEMPERATURE: ("temperature", "o"), TOP_P: ("top-p", "s"), BEAM: ("beam search", "D")}
REPORTED = "reported by others for that writer"
_COLOURS = (style.BLUE, style.SKY, style.GREEN, style.PURPLE, style.ORANGE, style.VERMILION)


def look(writer: str) -> tuple[str, str]:
    """What a writer is called in a legend, and its marker."""
    own = dict(zip(LANGUAGE.writers.NAMED, ("P", "p", "h", "d"), strict=False))
    return (PLAIN | MODELS)[writer] if writer not in own else (LANGUAGE.writers.NAMED[writer], own[writer])


def named(row: dict) -> str:
    """A writer for a reader."""
    name, _ = look(row["writer"])
    name = name if row["value"] is None else f"{name} {row['value']:g}"
    return f"{name}, pretrained" if row["lm_seed"] == PRETRAINED else name


def by_models(results: Results, table: str) -> list[dict]:
    """Rows of the last checkpoint and of the pretrained model, if there is one."""
    own = results.rows(table, lm_seed=results.headline, step=results.summary["step"])
    return [*own, *results.rows(table, lm_seed=PRETRAINED)]


@style.figure
def synthesis(results: Results) -> tuple[Figure, list[dict]] | None:
    """Solved share against the budget, one line a writer: with the grammar, and without."""
    models = by_models(results, "synthesis")
    plain = results.rows("synthesis", lm_seed="none")
    if not models and not plain:
        return None
    ways = list(dict.fromkeys(row["grammar"] for row in models)) or [True]
    figure, panels, colours = _solved(results, models, len(ways), 5.6, "")
    for axes, grammar in zip(panels[0], ways, strict=True):
        here = [row for row in models if row["grammar"] == grammar]
        for name in dict.fromkeys(named(row) for row in (*plain, *here)):
            rows = [row for row in (*plain, *here) if named(row) == name]
            _, marker = look(rows[0]["writer"])
            colour = colours.get(name, style.GREY)
            style.curve(axes, rows, "solved", over="budget", colour=colour, marker=marker, label=name)
            _reported(axes, rows, colour)
        budgets = sorted({row["budget"] for row in (*plain, *models)})
        axes.set_xscale("log")
        axes.set_xlim(0.9, 1.3 * budgets[-1])
        axes.set_xticks(budgets, map(str, budgets))
        axes.minorticks_off()
        axes.set_xlabel("programs proposed")
        axes.set_title("kept to the grammar" if grammar else "without the grammar")
        style.percent_axis(axes.yaxis)
    style.legend_below(figure, panels, columns=3)
    return figure, [*plain, *models]


def _reported(axes: Axes, rows: list[dict], colour: str) -> None:
    """What others have published of a writer like this: a bar over its range, wide enough to be seen."""
    known = [row for row in rows if row["reported_low"] is not None]
    for row in known:
        low, high = row["reported_low"] - 0.01, row["reported_high"] + 0.01
        axes.plot([row["budget"] * 1.12] * 2, [low, high], color=colour, linewidth=4, alpha=0.5, solid_capstyle="butt")
    if known and not any(line.get_label() == REPORTED for line in axes.get_lines()):
        axes.plot([], [], color=style.GREY, linewidth=4, alpha=0.5, label=REPORTED)


def _solved(
    results: Results, models: list[dict], count: int, height: float, key: str
) -> tuple[Figure, np.ndarray, dict[str, str]]:
    """A figure of solved shares with so many panels side by side (1, count), and the colour of each model's writer."""
    figure = style.new_figure(
        results,
        max(9.0, 1.4 + 4.2 * count),  # room for the title and the legend
        height,
        findings.synthesis(results),
        f"{key}Share of test specifications with a proposal that is right on every example in the text.",
        probed=False,
    )
    panels = figure.subplots(1, count, squeeze=False, sharey=True)
    panels[0][0].set_ylabel("specifications solved")
    return figure, panels, dict(zip(dict.fromkeys(map(named, models)), _COLOURS * 9, strict=False))


@style.figure
def synthesis_lengths(results: Results) -> tuple[Figure, list[dict]] | None:
    """By how much each writer's first right program is longer than the shortest, and how different its programs are."""
    rows = [*results.rows("writers", lm_seed="none"), *by_models(results, "writers")]
    if not rows:
        return None
    figure = style.new_figure(
        results,
        9.6,
        1.9 + 0.26 * len(rows),
        findings.synthesis_lengths(results),
        "With the largest budget. Longer: than the shortest right program that any writer or the corpus has.",
        probed=False,
    )
    panels = figure.subplots(1, 3, sharey=True)
    labels = [named(row) + ("" if row["grammar"] else ", no grammar") for row in rows]
    shown = {"longer": "statements longer", "distinct": "different programs", "programs": "programs at all"}
    for axes, (key, title) in zip(panels, shown.items(), strict=True):
        for height, row in enumerate(rows):
            colour = style.GREY if row["lm_seed"] == "none" else style.BLUE
            style.dot(axes, row, key, height, colour=colour, marker="o")
        axes.set_xlabel(title)
        if key != "longer":
            style.percent_axis(axes.xaxis)
    panels[0].set_yticks(range(len(rows)), labels)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure, rows


@style.figure
def synthesis_over_training(results: Results) -> tuple[Figure, list[dict]] | None:
    """What each way of decoding solves at every checkpoint, with one program and with the largest budget."""
    rows = [row for row in results.rows("synthesis", lm_seed=results.headline) if row["grammar"]]
    if len({row["step"] for row in rows}) < 2:
        return None
    budgets = sorted({1, max(row["budget"] for row in rows)})
    figure, panels, colours = _solved(results, rows, len(budgets), 5.0, "Kept to the grammar. ")
    for axes, budget in zip(panels[0], budgets, strict=True):
        for name, colour in colours.items():
            here = [row for row in rows if (named(row), row["budget"]) == (name, budget)]
            if here:
                marker = look(here[0]["writer"])[1]
                style.curve(axes, here, "solved", colour=colour, marker=marker, label=name)
        axes.set_title(f"with {budget} program{'s' * (budget > 1)}")
        style.steps_axis(axes, results)
        style.percent_axis(axes.yaxis)
    style.legend_below(figure, panels, columns=4)
    return figure, rows

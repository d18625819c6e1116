"""Variants of several sizes: when they learn, what is read, how far the true meaning is ahead, and what edits do."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from progsem.measures.intervals import mean_interval, slope_interval
from progsem.plots import findings, style
from progsem.plots.style import Results
from progsem.plots.variants import Rows, ahead, reached, read, solved, used
from progsem.study.vocabulary import FORCED

Fit = tuple[float, float, float]
_FAR = 100  # times as many parameters: then there is no room for more than powers of ten


class Panel(NamedTuple):
    """Of one measure: its name in the CSV, how it is called, and by what its numbers are found.

    `deepest`: of several series, the last one, which is the deepest probe's, is shown; else their mean. With
    `power`, numbers go with a power of the parameters, else with their logarithm; `scale` is of what is drawn.
    """

    measure: str
    title: str
    rows: Rows
    key: str
    deepest: bool = True
    power: bool = False
    scale: float = 1


PANELS = (
    Panel("tokens", "Million tokens until\nhalf is solved", reached(0.5), "tokens", power=True, scale=1e-6),
    Panel("solved", "Specifications solved\nat the end", solved, "generative_accuracy"),
    Panel("read", "States read by the deepest\nprobe, programs fed", read, "corrected"),
    Panel("ahead", "True meaning less its\nmirror image, fed (points)", ahead(FORCED), "difference", scale=100),
    Panel("used", "Effect of learned edits", used, "effect", deepest=False),
)


@style.figure
def scale(results: Results) -> tuple[Figure, list[dict]] | None:
    """Accuracy over tokens by size, and a panel a measure against the parameters, a point a language model."""
    sized = {name: one for name, one in results.variants.items() if one.summary["sizes"]["parameters"]}
    if len({one.summary["sizes"]["parameters"] for one in sized.values()}) < 2:
        return None
    points = {panel: _points(panel, sized) for panel in PANELS}
    models = sum(len(one.seeds) for one in sized.values())
    shown = {panel: found for panel, found in points.items() if found}
    fits = {panel: _fit(panel, found, results) if len(found) == models else None for panel, found in shown.items()}
    figure = style.new_figure(
        results,
        3.4 * (1 + len(shown)) / 2 + 0.6,
        6.6,
        findings.scale(fits.get(PANELS[0])),
        "A point a language model, by the longest program that it was trained on; lines and numbers are least-squares "
        "fits to the sizes' means, with a level for each of these lengths, with 95% intervals over sizes.",
        intervals=False,
    )
    panels = figure.subplots(2, math.ceil((1 + len(shown)) / 2)).reshape(-1)
    drawn = _curves(panels[0], sized, results.summary["intervals"]["confidence"])
    lengths = sorted({one.summary["sizes"]["statements"] for one in sized.values()})
    for axes, (panel, found) in zip(panels[1:], shown.items(), strict=False):
        drawn += _against_parameters(axes, panel, found, fits[panel], lengths, models)
    for axes in panels[1 + len(shown) :]:
        axes.remove()
    style.legend_below(figure, panels[1:2, None])
    return figure, drawn


def _points(panel: Panel, sized: dict[str, Results]) -> list[dict]:
    """Rows of the CSV: a language model each; those that have no value, or none with a logarithm, are left out."""
    found = []
    for name, one in sized.items():
        for seed in one.seeds:
            series = panel.rows(one, one.summary["step"], seed)
            values = [row[panel.key] for row in series.values() if row[panel.key] is not None]
            value = (values[-1] if panel.deepest else sum(values) / len(values)) if values else None
            if value is not None and (value > 0 or not panel.power):
                found.append(
                    {"measure": panel.measure, "variant": name, "lm_seed": seed, **one.summary["sizes"], "value": value}
                )
    return found


def _fit(panel: Panel, found: list[dict], results: Results) -> Fit | None:
    """Exponent of the parameters, or what is gained with ten times as many, with its interval.

    A point is a variant's mean: how far a shape is off the line is common to its language models.
    """
    by_variant: dict[str, list[dict]] = {}
    for row in found:
        by_variant.setdefault(row["variant"], []).append(row)
    x = [math.log10(rows[0]["parameters"]) for rows in by_variant.values()]
    y = [
        np.mean([math.log10(row["value"]) if panel.power else row["value"] for row in rows])
        for rows in by_variant.values()
    ]
    groups = [rows[0]["statements"] for rows in by_variant.values()]
    return slope_interval(x, y, groups, results.summary["intervals"]["confidence"])


def _against_parameters(
    axes: Axes, panel: Panel, found: list[dict], fit: Fit | None, lengths: list[int], models: int
) -> list[dict]:
    for place, length in enumerate(lengths):
        here = [row for row in found if row["statements"] == length]
        look = {"marker": style.MARKERS[place], "color": style.ALTERNATIVE_COLOURS[1 + place]}
        x, y = (np.array([row[key] for row in here], float) for key in ("parameters", "value"))
        axes.plot(x, panel.scale * y, linestyle="", alpha=0.8, label=f"up to {length} statements", **look)
        if fit and len(here):
            ends = np.array([x.min(), x.max()])
            level = np.mean((np.log10(y) if panel.power else y) - fit[0] * np.log10(x))
            line = level + fit[0] * np.log10(ends)
            axes.plot(ends, panel.scale * (10**line if panel.power else line), color=look["color"], linewidth=1)
    said = f"\n{len(found)} of {models} models" if len(found) < models else ""
    if fit:
        form, unit = ("+.2f", "") if panel.power else ("+.1f", " points") if panel.scale == 100 else ("+.2f", "")
        ends = style.spelt(*fit, form, 1 if panel.power else panel.scale, unit)
        said = f"\npower {ends}" if panel.power else f"\n{ends} for ten times"
    axes.set_title(panel.title + said, fontsize=9)
    axes.set_xscale("log")
    axes.set_yscale("log" if panel.power else "linear")
    far = max(row["parameters"] for row in found) / min(row["parameters"] for row in found)
    for axis in (axes.xaxis, *([axes.yaxis] if panel.power else [])):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if far < _FAR else (1,)))
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
    axes.set_xlabel("million parameters")
    if panel.power:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    fitted = {"measure": panel.measure, "variant": "fit", "value": None, "low": None, "high": None}
    if fit:
        fitted |= dict(zip(("value", "low", "high"), fit, strict=True))
    return [*found, fitted]


def _over_tokens(sized: dict[str, Results], confidence: float) -> Fit | None:
    """The power of the tokens with which what is not solved falls: the mean of the variants', with an interval.

    Of each variant the slope of a line through its checkpoints behind the first, on logarithmic axes.
    """
    slopes = []
    for one in sized.values():
        rows = [row for row in one.rows("checkpoints", lm_seed=one.headline) if row["tokens"]]
        left = [
            (row["tokens"], 1 - row["generative_accuracy"]) for row in rows if row["generative_accuracy"] is not None
        ]
        x, y = np.log10([pair for pair in left if pair[1] > 0] or np.empty((0, 2))).T
        if len(x) > 1:
            slopes.append(float(np.polyfit(x, y, 1)[0]))
    return mean_interval(slopes, confidence) if len(slopes) > 1 else None


def _curves(axes: Axes, sized: dict[str, Results], confidence: float) -> list[dict]:
    """Generative accuracy over tokens, a line a variant, coloured by its parameters."""
    counts = [one.summary["sizes"]["parameters"] for one in sized.values()]
    colours, drawn = LogNorm(min(counts), max(counts)), []
    for name, one in sized.items():
        rows = one.rows("checkpoints", lm_seed=one.headline)
        x = 1e-6 * style.column(rows, "tokens")
        colour = colormaps["viridis"](0.9 * colours(one.summary["sizes"]["parameters"]))
        axes.plot(x, style.column(rows, "generative_accuracy"), marker=".", color=colour, linewidth=1)
        drawn += [
            {"measure": "accuracy", "variant": name, **one.summary["sizes"], "tokens": row["tokens"]}
            | {"value": row["generative_accuracy"]}
            for row in rows
        ]
    fit = _over_tokens(sized, confidence)
    said = f"\nnot solved: power {style.spelt(*fit, '+.2f')} of tokens" if fit else ""
    axes.set_title(f"Specifications solved\n(darker: fewer parameters){said}", fontsize=9)
    fitted = dict(zip(("value", "low", "high"), fit or (None, None, None), strict=True))
    drawn.append({"measure": "unsolved", "variant": "fit", **fitted})
    axes.set_xlabel("million tokens")
    style.percent_axis(axes.yaxis)
    return drawn

"""A study's variants side by side: what is solved, read, read better than the mirror image, and used."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from progsem.measures.intervals import mean_interval
from progsem.plots import findings, style
from progsem.plots.style import Results
from progsem.study.vocabulary import FORCED, GENERATED, ORIGINAL

Rows = Callable[[Results, int, "int | str"], dict[str, dict]]


class Panel(NamedTuple):
    """Of one measure: its name in the CSV, how it is called, and by what its numbers and their intervals are found.

    `rows` gives the rows of a variant at a step, a row a series, of one language model (`lm_seed`) or of the mean;
    `scale` is of the axis, where 1 is a share.
    """

    measure: str
    title: str
    axis: str
    rows: Rows
    key: str
    interval: str | None = None
    scale: float = 1


def solved(results: Results, step: int, model: int | str) -> dict[str, dict]:
    """Specifications whose examples the model's own programs satisfy."""
    return dict(zip([""], results.rows("checkpoints", lm_seed=model, step=step), strict=True))


def reached(accuracy: float) -> Rows:
    """Tokens until so many specifications are solved, those of a warm-up among them; of the last checkpoint."""

    def found(results: Results, step: int, model: int | str) -> dict[str, dict]:
        rows = results.rows("milestones", lm_seed=model, share=accuracy)
        return dict(zip([""], rows, strict=True)) if step == results.summary["step"] else {}

    return found


def read(results: Results, step: int, model: int | str) -> dict[str, dict]:
    """What probes read from programs that are fed to the model, by their depth."""
    rows = results.headline_rows("probes", source=FORCED, step=step, semantics=ORIGINAL, lm_seed=model)
    return {row["depth"]: row for row in rows}


def ahead(source: str) -> Rows:
    """How much better the original is read than the difficulty-matched alternative, by the probes' depth."""

    def found(results: Results, step: int, model: int | str) -> dict[str, dict]:
        where = {"family": "named", "difficulty_matched": True, "offset": 0, "lm_seed": model}
        return {row["depth"]: row for row in results.headline_rows("alternatives", source=source, step=step, **where)}

    return found


def used(results: Results, step: int, model: int | str) -> dict[str, dict]:
    """The effect of the largest subspace that was learned, where it does most, by feature; of the last checkpoint."""
    best = findings.learned(results)
    if best is None or step != results.summary["step"]:
        return {}
    edit, layer = best
    rows = findings.edited(results, semantics=ORIGINAL, source="donor", edit=edit, layer=layer, lm_seed=model)
    return {row["feature"]: row for row in rows}


PANELS = (
    Panel("solved", "Specifications solved", "share", solved, "generative_accuracy"),
    Panel("read", "States read, programs\nfed to the model", "corrected accuracy", read, "corrected"),
    Panel("ahead_forced", "True meaning less its\nmirror image, fed", "points", ahead(FORCED), "difference", "ci", 100),
    Panel("ahead_generated", "The same, programs\nthat it writes", "points", ahead(GENERATED), "difference", "ci", 100),
    Panel(
        "to_50", "Until half of the\nspecifications are solved", "million tokens", reached(0.5), "tokens", scale=1e-6
    ),
    Panel("to_90", "Until nine tenths\nare solved", "million tokens", reached(0.9), "tokens", scale=1e-6),
    Panel("used", "Learned edits move\nthe next statement", "effect", used, "effect"),
)
_SPREAD = 0.6  # of the room of a variant, that its series are spread over


@style.figure
def variants(results: Results) -> tuple[Figure, list[dict]] | None:
    """A row a variant, a panel a measure, at the last checkpoint and before training."""
    found = {panel: _found(panel, results.variants) for panel in PANELS}
    shown = {panel: rows for panel, rows in found.items() if any(row[panel.key] is not None for *_, row in rows)}
    if not shown:
        return None
    names = list(results.variants)
    figure = style.new_figure(
        results,
        2.0 + 2.3 * len(shown),
        2.3 + 0.62 * len(names),
        findings.variants(results),
        "Filled: after training. Hollow: before. Right of the line the true meaning is easier to read than its mirror "
        "image, whose labels are as hard.",
    )
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)
    for axes, (panel, rows) in zip(panels[0], shown.items(), strict=True):
        _draw(axes, panel, rows, names)
    panels[0, 0].set_yticks(range(len(names)), names)
    panels[0, 0].set_ylim(len(names) - 0.5, -0.5)
    style.legend_below(figure, panels)
    drawn = [
        {"variant": name, "measure": panel.measure, "step": step, "series": series}
        | dict(zip(("value", "low", "high"), _numbers(panel, row), strict=True))
        | _beside_the_first(results, panel, name, step, series)
        for panel, rows in shown.items()
        for name, step, series, row in rows
    ]
    return figure, drawn


def _beside_the_first(results: Results, panel: Panel, name: str, step: int, series: str) -> dict[str, float | None]:
    """How much more a variant has than the first one, with the interval, at the ends of both trainings.

    Language models of the same seed are a pair; there is nothing where there are not two pairs, nor where one of a pair
    has no number: a mean over those that reach some mark is one of the fast.
    """
    first, other = next(iter(results.variants.values())), results.variants[name]
    pairs = []
    for seed in set(first.seeds) & set(other.seeds) if step and first is not other else ():
        both = [panel.rows(one, one.summary["step"], seed).get(series, {}).get(panel.key) for one in (first, other)]
        pairs.append(None if None in both else both[1] - both[0])
    pairs = [] if None in pairs else pairs
    found = mean_interval(pairs, other.summary["intervals"]["confidence"]) if len(pairs) > 1 else (None, None, None)
    return dict(zip(("difference", "difference_low", "difference_high"), found, strict=True)) | {"pairs": len(pairs)}


def _found(panel: Panel, variants: dict[str, Results]) -> list[tuple[str, int, str, dict]]:
    """Variant, step, series and row of all that a panel shows: of the untrained model, if it is there, and the last."""
    found = []
    for name, one in variants.items():
        steps = [row["step"] for row in one.summary["checkpoints"]]
        for step in dict.fromkeys([*([0] if 0 in steps else []), steps[-1]]):
            found += [(name, step, series, row) for series, row in panel.rows(one, step, one.headline).items()]
    return found


def _numbers(panel: Panel, row: dict) -> list[float | None]:
    """A row's number, and the ends of its interval."""
    return [row[panel.key], *(row[f"{panel.interval or panel.key}_{end}"] for end in ("low", "high"))]


def _draw(axes: Axes, panel: Panel, rows: list[tuple[str, int, str, dict]], names: list[str]) -> None:
    series = list(dict.fromkeys(one for _, _, one, _ in rows))
    for name, step, one, row in rows:
        place = series.index(one)
        shift = _SPREAD * ((place + 0.5) / len(series) - 0.5)
        colour, marker, label = _look(one, place)
        style.dot(
            axes,
            row,
            panel.key,
            names.index(name) + shift,
            colour=colour,
            marker=marker,
            interval=panel.interval,
            scale=panel.scale,
            hollow=step == 0,
            markersize=5,
            label=label if step else None,
        )
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.axis)
    axes.grid(axis="y", visible=False)
    if panel.scale == 1:
        style.percent_axis(axes.xaxis, limits=False)
        low, high = axes.get_xlim()
        axes.set_xlim(max(min(low, 0), -0.25), min(max(high, 0.1), 1.05))
    if panel.interval:
        axes.axvline(0, color=style.BLACK, linewidth=0.8)


def _look(series: str, place: int) -> tuple[str, str, str | None]:
    """Colour, marker and name of a series: a probe's depth, a feature, or the only one."""
    if series in style.DEPTH_NAMES:
        return style.DEPTH_COLOURS[series], style.DEPTH_MARKERS[series], style.DEPTH_NAMES[series]
    if not series:
        return style.BLACK, "o", None
    return style.ALTERNATIVE_COLOURS[2 + place % 4], style.MARKERS[3 + place % 4], series.replace("_", " ")

"""In which layer, and when: semantic content of each hidden state over the training."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from progsem.plots import findings, style
from progsem.plots.style import Results

MEAN = "mean"
FEWEST_INCHES = 0.2  # of a cell that a number fits into


@style.figure
def layers(results: Results) -> tuple[Figure, list[dict]] | None:
    """A heat map of layers and checkpoints for each source and depth."""
    where = {"lm_seed": results.headline, "states": results.states, "feature": "mean"}
    rows = results.rows("layers", **where)
    if not rows:
        return None
    layers = sorted({row["layer"] for row in rows}, key=number)
    steps = sorted({row["step"] for row in rows})
    width = 1.6 + len(results.depths) * min(max(2.4, 0.29 * len(steps)), 3.6)
    each = min(max(1.2, 0.27 * len(layers)), 4.6)  # height of a panel
    values = style.column(rows, "corrected")
    halves = (style.column(rows, "corrected_high") - style.column(rows, "corrected_low")) / 2
    figure = style.new_figure(
        results,
        max(width, 8.0),
        1.7 + (each + 0.45) * len(results.sources),
        findings.layers(results),
        intervals(results, halves),
        intervals=False,
    )
    panels = figure.subplots(len(results.sources), len(results.depths), squeeze=False, sharex=True, sharey=True)
    scale = Normalize(*((np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0, 1)))
    numbers = min(each / len(layers), (width - 2) / len(results.depths) / len(steps)) >= FEWEST_INCHES
    for line, source in zip(panels, results.sources, strict=True):
        for axes, depth in zip(line, results.depths, strict=True):
            here = {
                (row["layer"], row["step"]): row for row in rows if (row["source"], row["depth"]) == (source, depth)
            }
            found = [[here.get((layer, step), {}).get("corrected") for step in steps] for layer in layers]
            image = heat_map(axes, np.array(found, dtype=float), scale, numbers)
            axes.set_title(style.DEPTH_NAMES[depth], fontsize=9)
            if MEAN in layers:  # which is no layer
                axes.axhline(len(layers) - 1.5, color="white", linewidth=3)
        line[0].set_yticks(range(len(layers)), [name(layer) for layer in layers])
        n = max((row["n_states"] for row in rows if row["source"] == source), default=0)
        line[0].set_ylabel(f"{style.source_label(source)}\nn: up to {n:,} states")
    for axes in panels[-1]:
        shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 12)).round().astype(int))
        axes.set_xticks(shown, [f"{steps[index]:,}" for index in shown], rotation=60 if len(shown) > 4 else 0)
        axes.set_xlabel("training step")
    bar = figure.colorbar(image, ax=panels, fraction=0.03, aspect=30, pad=0.01, label="corrected probe accuracy")
    style.percent_axis(bar.ax.yaxis, limits=False)
    bar.outline.set_visible(False)
    return figure, rows


def number(layer: str) -> int:
    """Place of a hidden state on the axis: the embedding below, the mean on top."""
    return 10**6 if layer == MEAN else int(layer.removeprefix("layer_"))


def name(layer: str) -> str:
    """Name of a hidden state for a reader."""
    return {MEAN: "mean of all", "layer_0": "embedding"}.get(layer, layer.replace("_", " "))


def intervals(results: Results, halves: np.ndarray) -> str:
    """What the intervals are, which no cell has room for, and half the width of the widest."""
    widest = f"; the widest is ±{100 * np.nanmax(halves):.1f} points" if np.isfinite(halves).any() else ""
    return f"In per cent. {results.models()}; {results.interval()} are in the CSV{widest}. White: nothing to probe."


def heat_map(axes: Axes, values: np.ndarray, scale: Normalize, numbers: bool) -> AxesImage:
    """Cells (layers, steps) coloured by value, with the value in each if there is room."""
    image = axes.imshow(values, cmap=colormaps["cividis"], norm=scale, aspect="auto", origin="lower")
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if numbers:
        for (layer, step), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if scale(value) < 0.55 else "black"
                text = f"{round(100 * value)}".replace("-", "−")
                axes.text(step, layer, text, ha="center", va="center", fontsize=6.5, color=colour)
    return image

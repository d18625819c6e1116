"""What happens during the training: accuracy, perplexity, diversity and semantic content, by phase."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from progsem.plots import findings, style
from progsem.plots.style import Results

DASHED = {"color": style.GREY, "linestyle": "--", "linewidth": 1}


@style.figure
def training(results: Results) -> tuple[Figure, list[dict]]:
    """The figure, and the rows it shows."""
    figure = style.new_figure(
        results,
        10.5,
        2.7 + 2.6 * (2 + (len(results.sources) + 1) // 2) - 1.6,
        findings.training(results),
        "Thin lines: each language model." if len(results.seeds) > 1 else "",
    )
    rows = 2 + (len(results.sources) + 1) // 2
    panels = figure.subplots(rows, 2).reshape(-1)
    curves = results.rows("checkpoints", lm_seed=results.headline)
    each = [results.rows("checkpoints", lm_seed=seed) for seed in results.seeds] if len(results.seeds) > 1 else []
    accuracy(panels[0], curves, each)
    perplexity(panels[1], curves)
    diversity(panels[2], curves)
    loss(panels[3], results)
    drawn = [row | {"panel": "checkpoints"} for row in curves]
    for axes, source in zip(panels[4:], results.sources, strict=False):
        drawn += content(axes, results, source)
    for axes in panels[4 + len(results.sources) :]:
        axes.remove()
    for index, axes in enumerate(panels[: 4 + len(results.sources)]):
        style.steps_axis(axes, results)
        style.shade_phases(axes, results, names=index < 2)
    return figure, drawn


def accuracy(axes: Axes, curves: list[dict], each: list[list[dict]]) -> None:
    """Generative accuracy, strict and unconstrained beside it, and how many unconstrained outputs parse."""
    style.thin_curves(axes, each, "generative_accuracy", style.BLUE)
    style.curve(axes, curves, "generative_accuracy", colour=style.BLUE, label="right on the shown examples")
    for key, colour, marker, line, label in (
        ("strict_accuracy", style.GREEN, "^", "-", "right on held-out ones too"),
        ("unconstrained_accuracy", style.ORANGE, "v", "-", "right, without the grammar"),
        ("unconstrained_parses", style.GREY, "x", ":", "parses, without the grammar"),
    ):
        style.curve(axes, curves, key, colour=colour, marker=marker, label=label, linewidth=1, linestyle=line)
    style.percent_axis(axes.yaxis)
    axes.set_title("Generative accuracy", pad=16)
    axes.set_ylabel("share of test specifications")
    axes.legend(loc="best")


def perplexity(axes: Axes, curves: list[dict]) -> None:
    """Perplexity per program token, of the test programs and of the model's own."""
    style.curve(axes, curves, "perplexity_reference", colour=style.VERMILION, label="programs of the test set")
    style.curve(axes, curves, "perplexity_generated", colour=style.BLUE, marker="s", label="programs it writes itself")
    axes.set_title("Perplexity", pad=16)
    axes.set_ylabel("perplexity per token (log scale)")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=1)
    axes.legend(loc="best")


def diversity(axes: Axes, curves: list[dict]) -> None:
    """Entropy of what is written, and of the references as the ceiling to compare with."""
    style.curve(axes, curves, "entropy_bits", colour=style.BLUE, label="programs it writes")
    ceiling = style.column(curves, "entropy_bits_reference")
    axes.plot(style.column(curves, "step"), ceiling, label="test programs", **DASHED)
    axes.set_title("Diversity of the output")
    axes.set_ylabel("entropy (bits)")
    axes.set_ylim(0, 1.12 * max(1.0, ceiling.max()))
    axes.legend(loc="lower right")


def loss(axes: Axes, results: Results) -> None:
    """Training loss of each language model."""
    for index, seed in enumerate(results.seeds):
        several = len(results.seeds) > 1
        look = {"marker": "", "alpha": 0.6 if several else 1, "linewidth": 1.2}
        label = "each language model" if several and index == 0 else None
        style.curve(axes, results.rows("training", lm_seed=seed), "loss", colour=style.PURPLE, label=label, **look)
    axes.set_title("Training loss")
    axes.set_ylabel("nats per token (as weighted)")


def content(axes: Axes, results: Results, source: str) -> list[dict]:
    """Semantic content by depth, raw, over the majority baseline (dashed)."""
    where = {"semantics": "original", "source": source, "states": results.states, "feature": "mean"}
    drawn = []
    for depth in results.depths:
        rows = results.rows("probes", lm_seed=results.headline, depth=depth, **where)
        colour, marker = style.DEPTH_COLOURS[depth], style.DEPTH_MARKERS[depth]
        if len(results.seeds) > 1:
            each = [results.rows("probes", lm_seed=seed, depth=depth, **where) for seed in results.seeds]
            style.thin_curves(axes, each, "accuracy", colour)
        style.curve(axes, rows, "accuracy", colour=colour, marker=marker, label=style.DEPTH_NAMES[depth])
        drawn += [row | {"panel": f"content, {source}"} for row in rows]
    if drawn:
        rows = results.rows("probes", lm_seed=results.headline, depth=results.depths[0], **where)
        steps, majority = (style.column(rows, key) for key in ("step", "majority"))
        axes.plot(steps, majority, label="most frequent answer", **DASHED)
        axes.legend(loc="best", ncols=2)
    else:
        style.nothing(axes)
    axes.set_title(f"Semantic content: {style.SOURCE_NAMES[source]}")
    axes.set_ylabel("probe accuracy (mean of features)")
    style.percent_axis(axes.yaxis)
    if drawn:  # from the baseline to the bands, with room for the legend below
        keys = "accuracy", "accuracy_low", "accuracy_high", "majority"
        values = [row[key] for row in drawn for key in keys if row[key] is not None] or [0.0, 1.0]
        axes.set_ylim(max(0.0, min(values) - 0.15), min(1.0, max(values) + 0.05))
    return drawn

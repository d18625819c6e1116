"""Whether what is read is used: the effect of edits of the residual stream, by block and over the training."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from progsem.plots import findings, style
from progsem.plots.style import Results
from progsem.study.vocabulary import FULL, LEARNED, MEANS, ORIGINAL, PATTERN, SET, WEIGHTS

NAMES = {  # of edits, or how they begin
    FULL: "all of the stream",
    LEARNED: "learned, {} dimensions",
    WEIGHTS: "linear probe: weights",
    PATTERN: "linear probe: patterns",
    MEANS: "means of the classes",
    SET: "set, until the {} reads it",
}
CONTROLS = {  # name in the table -> in the legend, marker
    "random": ("another one as large", "x"),
    "layer": ("what was found behind another block", "|"),
    "position": ("one statement earlier", "<"),
    "shuffled": ("of probes for shuffled labels", "*"),
}
_LEAST, _MOST = -0.25, 1.05  # of the axis of effects: worse than nothing is cut off


def spelt(edit: str) -> str:
    """Name of an edit for a reader."""
    kind, _, detail = edit.partition("_")
    if kind == LEARNED and detail == "1":
        return "learned, 1 dimension"
    return NAMES[kind].format({"linear": "linear probe", "mlp1": "MLP 1", "mlp2": "MLP 2"}.get(detail, detail))


def order(edit: str) -> tuple:
    """Where an edit stands among others."""
    kind, _, detail = edit.partition("_")
    return list(NAMES).index(kind), -int(detail) if detail.isdigit() else detail


@style.figure
def edits(results: Results) -> tuple[Figure, list[dict]] | None:
    """Effect of every edit and its controls at the last checkpoint, by feature and block."""
    at_end = results.rows("edits", lm_seed=results.headline, step=results.summary["step"])
    rows = [row for row in at_end if row["layer"]]
    own = [row for row in rows if row["semantics"] == ORIGINAL]
    if not own:
        return None
    features, layers = (list(dict.fromkeys(row[name] for row in own)) for name in ("feature", "layer"))
    names = sorted({row["edit"] for row in own}, key=order)
    matched = findings.matched(results)
    figure = style.new_figure(
        results,
        2.8 + 2.9 * len(layers),
        1.9 + (0.9 + 0.25 * len(names)) * len(features),
        findings.edits(results),
        "How far the next statement moves from what the model would write to what it writes in the other state: "
        "0% not at all, 100% all the way.",
    )
    panels = figure.subplots(len(features), len(layers), squeeze=False, sharex=True, sharey=True)
    drawn = []
    for line, feature in zip(panels, features, strict=True):
        for axes, layer in zip(line, layers, strict=True):
            here = [row for row in rows if (row["feature"], row["layer"]) == (feature, layer)]
            drawn += here
            _compare(axes, here, names, matched)
            axes.set_title(f"behind block {layer}")
        first = next(row for row in own if row["feature"] == feature)
        line[0].set_ylabel(f"{feature.replace('_', ' ')}\nn = {first['n_apart']:,} pairs", labelpad=8)
    for axes in panels.flat:
        axes.set_yticks(range(len(names)), [spelt(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(_LEAST, _MOST)
        axes.axvline(0, color=style.GREY, linewidth=0.8)
        style.percent_axis(axes.xaxis, limits=False)
    for axes in panels[-1]:
        axes.set_xlabel("effect on the next statement")
    style.legend_below(figure, panels, columns=3)
    return figure, drawn


def _compare(axes: Axes, rows: list[dict], names: list[str], matched: str | None) -> None:
    """A line for each edit: from the same specification, from another, under the mirror image, and its controls."""
    own, mirrored = {"semantics": ORIGINAL}, {"semantics": matched}
    series = [
        (
            own | {"source": "target"},
            "from the same specification",
            style.BLUE,
            "o",
            -0.12,
            {"markerfacecolor": "white"},
        ),
        (own | {"source": "donor"}, "from another specification", style.BLUE, "o", 0.0, {}),
        (mirrored | {"source": "donor"}, f"the same for states under {matched}", style.VERMILION, "D", 0.12, {}),
    ]
    for where, label, colour, marker, shift, more in series:
        axes.plot([], [], marker, color=colour, label=label, **more)
        for row in rows:
            if row["control"] == "none" and all(row[key] == value for key, value in where.items()):
                height = names.index(row["edit"]) + shift
                style.dot(axes, _cut(row), "effect", height, colour=colour, marker=marker, **{"markersize": 5} | more)
    for control, (label, marker) in CONTROLS.items():
        axes.plot([], [], marker, color=style.GREY, label=label)
        for row in rows:
            if (row["semantics"], row["control"]) == (ORIGINAL, control):
                height = names.index(row["edit"]) + 0.24
                style.dot(axes, _cut(row), "effect", height, colour=style.GREY, marker=marker, markersize=4.5)


def _cut(row: dict) -> dict:
    """A row whose effect and interval end where the axis does."""
    cut = {key: None if row[key] is None else max(row[key], _LEAST) for key in ("effect", "effect_low", "effect_high")}
    return row | cut


@style.figure
def edits_over_training(results: Results) -> tuple[Figure, list[dict]] | None:
    """What is read and what is used at every checkpoint, under the original and the mirror image."""
    rows = results.rows("edits", lm_seed=results.headline)
    used = findings.learned(results)
    if used is None or len({row["step"] for row in rows}) < 2:
        return None
    edit, layer = used
    features = list(dict.fromkeys(row["feature"] for row in rows))
    semantics = {ORIGINAL: (style.BLUE, "o")} | {
        name: (style.VERMILION, "D") for name in [findings.matched(results)] if name
    }
    figure = style.new_figure(
        results,
        10.5,
        1.7 + 2.3 * len(features),
        findings.edits_over_training(results),
        f"Read: probes of the stream behind block {layer}. Used: {spelt(edit)}, there, taken from "
        "another specification. Written: how programs end that go on under that edit, from the state that was given.",
    )
    panels = figure.subplots(len(features), 3, squeeze=False)
    drawn = []
    for line, feature in zip(panels, features, strict=True):
        for name, (colour, marker) in semantics.items():
            read = results.rows(
                "streams",
                lm_seed=results.headline,
                layer=layer,
                feature=feature,
                depth=results.depths[-1],
                semantics=name,
            )
            where = {"lm_seed": results.headline, "feature": feature, "semantics": name, "source": "donor"}
            done = results.rows("edits", edit=edit, control="none", layer=layer, **where)
            style.curve(line[0], read, "corrected", colour=colour, marker=marker, label=name)
            style.curve(line[1], done, "effect", colour=colour, marker=marker, label=name)
            style.curve(line[2], done, "ends_target", colour=colour, marker=marker, label=name)
            drawn += [*read, *done]
        nothing = results.rows("edits", lm_seed=results.headline, feature=feature, semantics=ORIGINAL, edit="none")
        style.curve(line[2], nothing, "ends_target", colour=style.GREY, marker="x", label="without an edit")
        drawn += nothing
        line[0].set_ylabel(feature.replace("_", " "))
        for axes, title in zip(
            line, ("read (corrected accuracy)", "used (effect)", "written: right programs"), strict=True
        ):
            axes.set_title(title)
            style.steps_axis(axes, results)
            style.percent_axis(axes.yaxis, limits=False)
            low, high = axes.get_ylim()
            axes.set_ylim(max(min(low, 0), -0.25), min(max(high, 0.1), 1.05))
    style.legend_below(figure, panels)
    return figure, drawn

"""What the best features of transcoders are active at: programs and worlds."""

from __future__ import annotations

from matplotlib.figure import Figure

from progsem.languages import LANGUAGE
from progsem.plots import findings, style
from progsem.plots.style import Results

_COLUMNS = ("layer", "kind", "unit", "feature", "head", "value", "f1", "precision", "always")


@style.figure
def features(results: Results) -> tuple[Figure, list[dict]] | None:
    """A row a feature: what it says, and the statements at which it is most active."""
    found = results.gallery["features"]["features"]
    if not found:
        return None
    columns = 1 + max(len(one["statements"]) for one in found)
    figure = style.new_figure(
        results,
        max(9.0, 1.55 * columns + 0.6),
        1.7 + 2.0 * len(found),
        findings.features(results),
        "A row a feature, with the statements of test programs at which it is most active, and the world behind each. "
        "The feature sees the hidden state alone.",
        intervals=False,
    )
    panels, drawn = figure.subplots(len(found), columns, squeeze=False), []
    for axes in panels.flat:
        axes.set_axis_off()
    for line, one in zip(panels, found, strict=True):
        says = f"{one['feature']}\n{one['head']} = {one['value']}".replace("_", " ")
        about = f"\n\n{one['kind']}, block {one['layer']}\nfeature {one['unit']}"
        about += f"\nF1 {one['f1']:.2f}\nalways yes: {one['always']:.2f}"
        line[0].text(0, 0.5, says + about, va="center", fontsize=8.5, transform=line[0].transAxes)
        for axes, shown in zip(line[1:], one["statements"], strict=False):
            axes.set_axis_on()
            LANGUAGE.drawing.draw(axes, *LANGUAGE.drawing.after(shown, shown["after"]))
            axes.set_title(shown["after"]["text"], fontsize=8, family="DejaVu Sans Mono", loc="center")
            axes.set_xlabel(f"statement {shown['number'] + 1}\nactivation {shown['activation']:.1f}", fontsize=7.5)
            where = {name: shown[name] for name in ("program", "number", "activation")}
            drawn.append({name: one[name] for name in _COLUMNS} | where)
    return figure, drawn

"""The original against the alternatives by offset: what the model adds to past, present and future states.

The follow-up of the paper (Jin & Rinard, Latent Causal Probing, COLM 2024) measures by
this gap, at states long past, what the language model contributes beyond the text.
"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progsem.plots import findings, style
from progsem.plots.alternatives import colours, compared, label
from progsem.plots.style import Results


@style.figure
def alternatives_by_offset(results: Results) -> tuple[Figure, list[dict]] | None:
    """Difference at the last checkpoint by offset, for each source and depth; None if offset 0 is the only one."""
    where = {"lm_seed": results.headline, "states": results.states, "feature": "mean"}
    rows = compared(results, step=results.summary["step"], **where)
    offsets = sorted({row["offset"] for row in rows})
    if len(offsets) < 2:
        return None
    figure = style.new_figure(
        results,
        1.6 + 3.1 * len(results.depths),
        1.6 + 2.5 * len(results.sources),
        findings.alternatives_by_offset(results),
        "Offset: statements from the hidden state to the world that is read, ahead (+) or ago (−). Above 0 the true "
        "meaning is easier to read. * labels as hard as the original's.",
    )
    panels = figure.subplots(len(results.sources), len(results.depths), squeeze=False, sharex=True, sharey="row")
    looks, count = colours(results), len(results.alternatives)
    for line, source in zip(panels, results.sources, strict=True):
        for axes, depth in zip(line, results.depths, strict=True):
            for index, (name, (colour, marker)) in enumerate(looks.items()):
                key = (source, depth, name)
                here = [row for row in rows if (row["source"], row["depth"], row["alternative"]) == key]
                here.sort(key=lambda row: row["offset"])
                x = style.column(here, "offset") + 0.06 * (index - (count - 1) / 2)
                style.bars(axes, x, here, "difference", interval="ci", scale=100, colour=colour, width=1.8)
                values = 100 * style.column(here, "difference")
                thick = 2 if results.summary["alternatives"][name]["difficulty_matched"] else 0.8
                axes.plot(x, values, color=colour, marker=marker, linewidth=thick, label=label(results, name))
            axes.axhline(0, color=style.BLACK, linewidth=0.8)
            axes.set_title(style.DEPTH_NAMES[depth])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not any(row["source"] == source for row in rows):
            style.nothing(line[0])
        line[0].set_ylabel(f"difference (percentage points)\n{style.source_label(source)}")
    for axes in panels[-1]:
        axes.set_xlabel("offset (statements)")
    style.legend_below(figure, panels)
    return figure, rows

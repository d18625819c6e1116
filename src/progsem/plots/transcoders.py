"""Whether features of sparse dictionaries are the program's states, beside neurons, probes and the untrained model."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from progsem.plots import findings, style
from progsem.plots.style import Results
from progsem.study.vocabulary import AUTOENCODER, MEAN, NEURONS, ORIGINAL, PROBE, TRANSCODER

KINDS = {
    NEURONS: "MLP's neurons",
    TRANSCODER: "transcoder",
    AUTOENCODER: "sparse autoencoder",
    PROBE: "linear probe",
}
PANELS = {
    "coverage": ("Coverage: best feature\nof each property", "F1"),
    "reconstruction": ("Reconstruction from features\nof at least 0.95 precision", "F1"),
    "variance": ("Variance of the MLP's\noutput that is given", "share"),
    "loss_recovered": ("Loss recovered when\nthe MLP is replaced", "share"),
}


@style.figure
def transcoders(results: Results) -> tuple[Figure, list[dict]] | None:
    """A row a kind of features, a panel a score; the last block's MLP, before and after training."""
    rows = of_last_block(results)
    if not rows:
        return None
    ends = min(row["step"] for row in rows), results.summary["step"]
    rows = [row for row in rows if row["step"] in ends]
    several = len(results.seeds) > 1
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    figure = style.new_figure(
        results,
        11.0,
        2.4 + 0.55 * len(kinds),
        findings.transcoders(rows),
        f"The last block's MLP ({rows[0]['layer']}). Filled: step {ends[1]:,}. Hollow: step {ends[0]:,}. Dashed: a "
        "feature that always says yes. Features are chosen on training programs and judged on test programs. "
        f"{results.models()}"
        + (f". Bars: {results.summary['intervals']['confidence']:.0%} intervals over them." if several else "."),
        intervals=False,
    )
    panels = figure.subplots(1, len(PANELS), squeeze=False, sharey=True)
    semantics = sorted({row["semantics"] for row in rows}, key=lambda name: name != ORIGINAL)
    drawn = []
    for axes, (score, (title, unit)) in zip(panels[0], PANELS.items(), strict=True):
        for row in rows:
            place = semantics.index(row["semantics"])
            if score in ("variance", "loss_recovered") and place:
                continue  # which are about the MLP alone
            _dot(axes, row, score, kinds.index(row["kind"]), place, row["step"] == ends[1], row["semantics"])
            drawn.append(
                {key: row[key] for key in ("step", "layer", "kind", "semantics")}
                | {"score": score, "value": row[score], "low": row[f"{score}_low"], "high": row[f"{score}_high"]}
            )
        if score == "coverage":
            for row in rows:
                if row["always"] is not None and (row["semantics"], row["step"]) == (ORIGINAL, ends[1]):
                    axes.axvline(row["always"], color=style.GREY, linewidth=0.8, linestyle="--", zorder=0)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(unit)
        axes.grid(axis="y", visible=False)
    panels[0, 0].set_yticks(range(len(kinds)), [KINDS[kind] for kind in kinds])
    panels[0, 0].set_ylim(len(kinds) - 0.5, -0.5)
    style.legend_below(figure, panels)
    return figure, drawn


def of_last_block(results: Results) -> list[dict]:
    """Rows of the table about the last block's MLP: in CodeGen, that of the first one reads a token and no others."""
    rows = [row for row in results.rows("transcoders", lm_seed=results.headline) if row["layer"] != MEAN]
    last = max((int(row["layer"]) for row in rows), default=0)
    return [row for row in rows if int(row["layer"]) == last]


def _dot(axes: Axes, row: dict, score: str, height: int, place: int, trained: bool, semantics: str) -> None:
    style.dot(
        axes,
        row,
        score,
        height + 0.3 * (place - 0.5),
        colour=style.BLACK if place == 0 else style.ALTERNATIVE_COLOURS[0],
        marker="o" if place == 0 else "s",
        hollow=not trained,
        markersize=5,
        label=("true meaning" if semantics == ORIGINAL else f"{semantics}, as hard") if trained else None,
    )

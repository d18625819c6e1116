"""The trace viewer: one HTML file to step through programs, with all that it shows inside it.

The page is `viewer.html`, beside this module (`pages`).

A report in one file holds the page in a `data:` address, of which Chromium takes 2 MB;
so statements are packed, and unpacked by the page.
"""

from __future__ import annotations

from pathlib import Path

from progsem.languages import LANGUAGE
from progsem.plots import pages, style
from progsem.plots.edits import order, spelt

PAGE = Path(__file__).with_suffix(".html")


def page(viewer: dict, title: str) -> str:
    """The whole page for what the statistics chose (`measures.viewer.choose`), under a title from the config."""
    about = {
        "title": title,
        "probe": style.DEPTH_NAMES[viewer["depth"]],
        "states": style.SOURCE_NAMES[viewer["source"]],
    }
    if edits := viewer["edits"]:
        names = sorted(edits["edits"], key=order)
        about["edits"] = edits | {"edits": names, "spelt": [spelt(name) for name in names]}
    shown = viewer | about | {"specifications": [packed(one, viewer["features"]) for one in viewer["specifications"]]}
    return pages.filled(PAGE, title, shown)


def packed(specification: dict, features: list[str]) -> dict:
    """A specification in few characters: each statement a list, what the language packs and the confidence by feature.

    Its text is in the program.
    """

    def statement(one: dict) -> list:
        sure = [one["confidence"][feature] for feature in features] if one["confidence"] else []
        return [*LANGUAGE.drawing.packed(specification, one), sure]

    runs = [run | {"statements": [statement(one) for one in run["statements"]]} for run in specification["runs"]]
    return specification | {"runs": runs}


def write(folder: Path, viewer: dict, title: str) -> None:
    """Write `trace_viewer.html` into a folder."""
    (folder / "trace_viewer.html").write_text(page(viewer, title), encoding="utf-8")

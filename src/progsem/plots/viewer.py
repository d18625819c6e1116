"""The trace viewer: one HTML file to step through programs, with all that it shows inside it.

The page is `viewer.html`, beside this module: markup, style and script without a
framework, which `progsem.sources` counts among this module's sources. Its data are
text to the browser, never markup: whatever a study's title holds is shown as it is.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from progsem.plots import style

PAGE = Path(__file__).with_suffix(".html")


def page(viewer: dict, title: str) -> str:
    """The whole page for what the statistics chose (`measures.viewer.choose`), under a title from the config."""
    about = {
        "title": title,
        "probe": style.DEPTH_NAMES[viewer["depth"]],
        "states": style.SOURCE_NAMES[viewer["source"]],
    }
    # Within a script element only `<` could end it, or begin a comment.
    data = json.dumps(viewer | about, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    colours = {"BLUE": style.BLUE, "SKY": style.SKY, "VERMILION": style.VERMILION, "ORANGE": style.ORANGE}
    values = {"TITLE": html.escape(title), "DATA": data} | colours
    # All at once: what is put in is not looked at again.
    return re.sub(rf"@({'|'.join(values)})@", lambda found: values[found[1]], PAGE.read_text(encoding="utf-8"))


def write(folder: Path, viewer: dict, title: str) -> None:
    """Write `trace_viewer.html` into a folder."""
    (folder / "trace_viewer.html").write_text(page(viewer, title), encoding="utf-8")

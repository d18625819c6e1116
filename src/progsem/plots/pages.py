"""What HTML pages have in common: their look and their helpers, and how all that they show gets into one file.

A page is markup, style and script without a framework. `pages.css` and `pages.js`, beside this module, are in each, and
the slider over training where it says @STEPS@; what is the language's comes from `LANGUAGE.drawing`. Data are text to
the browser, never markup: whatever a study's title holds is shown as it is.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from progsem.languages import LANGUAGE
from progsem.plots import style

UNTITLED = "@TITLE@"  # the title of a page that gets one later
STEPS = """\
    <label for="step">Training step</label> <output id="step-said" for="step"></output>
    <div class="row one">
      <button id="step-back" type="button" aria-label="Earlier checkpoint">‹</button>
      <div class="over">
        <svg id="curve" role="img" preserveAspectRatio="none"></svg>
        <input id="step" type="range" min="0" step="1">
      </div>
      <button id="step-on" type="button" aria-label="Later checkpoint">›</button>
    </div>
"""
STYLE, SCRIPT = (Path(__file__).with_suffix(kind).read_text(encoding="utf-8") for kind in (".css", ".js"))


def filled(page: Path, title: str, data: dict, scripts: tuple[str, ...] = ()) -> str:
    """A page with its data and under a title; `scripts` follow those that all pages have."""
    colours = {"BLUE": style.BLUE, "SKY": style.SKY, "VERMILION": style.VERMILION, "ORANGE": style.ORANGE}
    script = "\n".join((SCRIPT, LANGUAGE.drawing.SCRIPT, *scripts))
    parts = {"STYLE": STYLE + LANGUAGE.drawing.STYLE, "STEPS": STEPS, "SCRIPT": script}
    text = _put(parts, page.read_text(encoding="utf-8"))
    return _put({"TITLE": html.escape(title), "DATA": as_text(data)} | colours, text)


def titled(page: str, title: str) -> str:
    """A page that was filled as `UNTITLED`, under a title."""
    return page.replace(UNTITLED, html.escape(title), 1)


def as_text(data: dict) -> str:
    """Data as JSON for a script element, which only `<` could end, or begin a comment in."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _put(values: dict[str, str], text: str) -> str:
    """Put values in the places of their names, all at once: what is put in is not looked at again."""
    return re.sub(rf"@({'|'.join(values)})@", lambda found: values[found[1]], text)

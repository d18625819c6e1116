"""What the playground (`progsem.playground`) has of rectangles: `playground.js` runs them, and is told of them."""

from __future__ import annotations

from pathlib import Path

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def told(worlds, programs) -> dict:
    """What the script is told of the sections `worlds` and `programs`: how many points a list may have."""
    return {"points": list(worlds.points)}

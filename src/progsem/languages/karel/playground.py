"""What the playground has of Karel: `playground.js` runs its programs, and is told how they are drawn at random."""

from __future__ import annotations

from pathlib import Path

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def told(worlds, programs) -> dict:
    """What the script is told of the sections `worlds` and `programs`: how worlds and programs are drawn at random."""
    return {
        **worlds.size,
        "wall_probability": worlds.wall_probability,
        "marker_probability": worlds.marker_probability,
        "length": list(programs.train_length),
        "weights": programs.weights.model_dump(),
        "control_flow": programs.control_flow,
        "max_depth": programs.max_depth,
    }

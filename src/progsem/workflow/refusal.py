"""How Snakemake is ended in one line, before any work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from progsem.errors import UserError


def refuse_read_only(folder: Path) -> NoReturn:
    """Refuse to go on: this folder cannot be written, and what follows would."""
    refuse(f"{folder}: cannot be written; make room or give access, and run again")


def refuse(problem: str | UserError) -> NoReturn:
    """End the process with status 2 and one line: Snakemake lets SystemExit pass, and prints a traceback for others."""
    print(f"progsem: {problem}", file=sys.stderr)
    raise SystemExit(2) from None

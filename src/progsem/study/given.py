"""The file of programs in `corpus.programs`: what it holds names results, not where it is or what it is called."""

from __future__ import annotations

import os
from pathlib import Path

from progsem.errors import UserError
from progsem.storage.files import file_digest


def refuse_unreadable(file: str) -> None:
    """Raise `UserError` where that is no file which can be read. What it holds is looked at before jobs start."""
    path = Path(file)
    lacks = {
        f"a relative path; did you mean {str(path.absolute())!r}?": path.is_absolute(),
        "no such file": os.path.isfile(path),
        "which cannot be read": os.access(path, os.R_OK),
    }
    for problem, there in lacks.items():
        if not there:
            raise UserError(
                f"corpus.programs: given {file!r}, {problem}; expected a file with a program a line; name another, or "
                "leave it empty"
            )


def slice_of(file: str) -> dict[str, str]:
    """What names the programs in a file: its SHA-256, as `given`; nothing without one."""
    return {"given": file_digest(Path(file))} if file else {}

"""Numbers as they are written: six decimals, nothing where a value is missing or undefined."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from progsem.storage.files import write_csv


def write_rows(path: Path, names: list[str], rows: list[dict]) -> None:
    """Write rows as CSV: floats with six decimals, nothing where a value is missing or undefined."""
    write_csv(path, names, ([_field(row.get(name)) for name in names] for row in rows))


def _field(value):
    """`plain` of a value that is no container; most are floats, or need nothing done."""
    if type(value) is float:
        return round(value, 6) + 0.0 if math.isfinite(value) else None
    return value if value is None or type(value) in (str, int, bool) else plain(value)


def plain(value):
    """NumPy values as JSON ones: floats with six decimals, None for what is undefined."""
    if isinstance(value, float):  # NumPy's are among them
        return round(float(value), 6) + 0.0 if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    return value

"""docs/tables.md: every column of every table, from `progsem.measures.tables` and `progsem.storage.columns`."""

from __future__ import annotations

import inspect
from itertools import groupby
from pathlib import Path

from progsem.languages import NAMES, language
from progsem.measures import tables
from progsem.storage import columns

PAGE = Path("docs/tables.md")
_HEAD = """# Tables

Written by `make schema` from `src/progsem/measures/tables.py` and `src/progsem/storage/columns.py`.

The stage `statistics` writes these as CSV files into `results/statistics/NAME-CONFIG-CODE/`: numbers with six decimals,
nothing where one is missing or undefined. *n* is the column that counts what a number was computed from. `x_low` and
`x_high` are the ends of the interval of `x` ([method](method.md#intervals)).
"""
_ARROW = """# Arrow tables

All other stages write tables as Arrow files (IPC, not compressed), with a list of fixed size where a row has several
values of a column. Each field has what stands here in its metadata, under `description` and `unit`; the schema has
facts about the table under `progsem`, as JSON. In names, FEATURE is one that probes are asked for, and N a number.
[own.md](own.md#arrow-tables) says how to open them.
"""


def page_text() -> str:
    """The whole page: CSV tables, then Arrow tables.

    Raises ValueError for a column of the former that is not described, and for a description of none.
    """
    parts = [_HEAD]
    for name, table in tables.TABLES.items():
        about = tables.described(name)
        row = inspect.getdoc(table.rows).split("\n\n")[0]
        parts += [f"## {name}", "", row, "", "| column | unit | n | meaning |", "|---|---|---|---|"]
        for (unit, n, meaning), together in groupby(table.columns, key=about.get):
            names = ", ".join(f"`{column}`" for column in together)
            parts.append(f"| {names} | {unit} | {f'`{n}`' if n else ''} | {meaning} |")
        parts.append("")
    return "\n".join([*parts, _ARROW, *map(_arrow_text, columns.TABLES)])


def _arrow_text(name: str) -> str:
    """An Arrow table: its files, what a row is, and its columns, those of each language among them."""
    table = columns.TABLES[name]
    lines = [f"## {', '.join(table.files)}", "", table.row, "", "| column | unit | meaning |", "|---|---|---|"]
    lines += [f"| `{column}` | {unit} | {meaning} |" for column, (unit, meaning) in table.columns.items()]
    for one in NAMES:
        known = columns.columns(name, language(one)).items()
        worlds = [(column, about) for column, about in known if column not in table.columns]
        lines += [f"| `{column}` ({one}) | {unit} | {meaning} |" for column, (unit, meaning) in worlds]
    return "\n".join([*lines, ""])

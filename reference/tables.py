"""docs/tables.md: every column of every table, from `progsem.measures.tables` and `progsem.storage.columns`."""

from __future__ import annotations

import inspect
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
    shared = _described(tables.__doc__)
    parts = [_HEAD]
    for name, table in tables.TABLES.items():
        doc = inspect.getdoc(table.rows)
        own = _described(doc)
        about = shared | own
        ends = {f"{column}{end}": column for column in about for end in ("_low", "_high")}
        listed = [column for column in table.columns if column in about or column not in ends]
        if wrong := (set(listed) - set(about)) | (set(own) - set(listed)):
            raise ValueError(f"table {name}: either no column or not described: {', '.join(sorted(wrong))}")
        parts += [f"## {name}", "", doc.split("\n\n")[0], "", "| column | unit | n | meaning |", "|---|---|---|---|"]
        for column in listed:
            names = [column, *(end for end in table.columns if ends.get(end) == column and end not in about)]
            parts.append(f"| {', '.join(f'`{one}`' for one in names)} | {' | '.join(about[column])} |")
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


def _described(doc: str) -> dict[str, tuple[str, str, str]]:
    """Unit, n and meaning by column, from the rows of a table in a docstring."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in doc.splitlines() if "|" in line]
    return {column: (unit, f"`{n}`" if n else "", meaning) for column, unit, n, meaning in rows if column != "column"}

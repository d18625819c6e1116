"""Stage `figures`: draw what the statistics say.

Reads only the files of the stage `statistics`. Every figure is written as PNG,
PDF and CSV (the numbers in it), with `trace_viewer.html`, `summary.json` and
`manifest.json` beside them, into a folder that takes its name only when all of it is there; in one that is
there already they take the places of the earlier ones, and what is not of these stays. Figures of
something that the study did not ask for are left out. `paper_vs_ours.md` and its
CSV set the results beside the paper's claims.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from pathlib import Path

import matplotlib

from progsem import plots
from progsem.measures.tables import TABLES
from progsem.plots import style, viewer
from progsem.plots.paper import page
from progsem.storage import manifest
from progsem.storage.files import filling, read_csv, read_json
from progsem.study.vocabulary import COMPARED

SECTIONS = ("worlds", "programs", "corpus", "lm")  # of the config, which say what a study is of
for _, name, _ in pkgutil.iter_modules(plots.__path__):
    importlib.import_module(f"{plots.__name__}.{name}")  # each lists its figures, see `style.figure`
FIGURES = style.FIGURES


def run(job) -> None:
    """Draw every figure into the job's one output, a folder."""
    wanted = job.section("figures")
    results = style.Results(
        summary=read_json(job.input("summary")),
        gallery=read_json(job.input("gallery")),
        tables=read_tables(job),
        title=wanted.title or job.slice["study"],
        sections={name: job.section(name) for name in SECTIONS},
        variants=read_variants(job),
    )
    ((folder,),) = job.outputs.values()
    with filling(folder, manifest.put) as temporary, matplotlib.rc_context():
        matplotlib.rcdefaults()  # no matplotlibrc of the user's
        matplotlib.rcParams.update(style.CONTEXT)
        for name in FIGURES:
            draw(name, results, temporary, wanted.dpi)
        page.write(results, temporary)
        viewer.write(temporary, read_json(job.input("viewer")), results.title)
        shutil.copyfile(job.input("summary"), temporary / "summary.json")
        manifest.write(job, temporary, sorted(temporary.iterdir()))


def draw(name: str, results: style.Results, folder: Path, dpi: int) -> None:
    """Draw one figure into a folder, if the study has anything for it."""
    drawn = FIGURES[name](results)
    if drawn:
        figure, rows = drawn
        style.save(figure, folder, name, dpi, rows)


def read_tables(job) -> dict[str, list[dict]]:
    """The rows of every table among a job's inputs, by name."""
    return {name: read_rows(job.input(name)) for name in TABLES}


def read_variants(job) -> dict[str, style.Results]:
    """What is compared of every variant of the study, by name."""
    found = {}
    for number, (name, _) in enumerate(job.slice.get("variants", ())):
        paths = {table: job.inputs[f"variants_{table}"][number] for table in ("summary", *COMPARED)}
        tables = {table: read_rows(paths[table]) for table in COMPARED}
        found[name] = style.Results(read_json(paths["summary"]), {}, tables, name, {})
    return found


def read_rows(path: Path) -> list[dict]:
    """The rows of a CSV table; numbers as numbers, None for empty fields."""
    return [{name: _value(text) for name, text in row.items()} for row in read_csv(path)]


def _value(text: str):
    if text == "":
        return None
    if text in ("True", "False"):
        return text == "True"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text

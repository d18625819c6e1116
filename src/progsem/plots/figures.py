"""Stage `figures`: draw what the statistics say.

Reads only the files of the stage `statistics`, and `playground.html`, which gets its title. Every figure is
written as PNG, PDF and CSV (the numbers in it), with `trace_viewer.html`, `summary.json` and `manifest.json`
beside them, into a folder that takes its name only when all of it is there; in one that is there already they take
the places of the earlier ones, and what is not of these stays. Figures of something that the study did not ask for
are left out. `paper_vs_ours.md` and its CSV set the results beside the paper's claims.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

from progsem import plots
from progsem.measures.tables import TABLES, read_rows
from progsem.plots import pages, style, viewer
from progsem.plots.paper import page
from progsem.storage import manifest
from progsem.storage.files import filling, read_json
from progsem.study.vocabulary import COMPARED

SECTIONS = ("worlds", "programs", "corpus", "lm")  # of the config, which say what a study is of
for _, name, _ in pkgutil.iter_modules(plots.__path__):
    importlib.import_module(f"{plots.__name__}.{name}")  # each lists its figures, see `style.figure`
FIGURES = style.FIGURES


def run(job) -> None:
    """Draw every figure into the job's one output, a folder."""
    results = read(job)
    ((folder,),) = job.outputs.values()
    with filling(folder, manifest.put) as temporary, looks():
        for name in FIGURES:
            draw(name, results, temporary, job.section("figures").dpi)
        page.write(results, temporary)
        viewer.write(temporary, read_json(job.input("viewer")), results.title)
        shutil.copyfile(job.input("summary"), temporary / "summary.json")
        page_of_model = pages.titled(job.input("playground").read_text(encoding="utf-8"), results.title)
        (temporary / "playground.html").write_text(page_of_model, encoding="utf-8")
        manifest.write(job, temporary, sorted(temporary.iterdir()))


def read(job) -> style.Results:
    """What figures are drawn of, from a job's inputs."""
    return style.Results(
        summary=read_json(job.input("summary")),
        gallery=read_json(job.input("gallery")),
        tables={name: read_rows(job.input(name)) for name in TABLES},
        title=job.section("figures").title or job.slice["study"],
        sections={name: job.section(name) for name in SECTIONS},
        variants=read_variants(job),
    )


@contextmanager
def looks() -> Iterator[None]:
    """Within it, matplotlib draws as `style` says, whatever a matplotlibrc of the user's says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style.CONTEXT)
        yield


def draw(name: str, results: style.Results, folder: Path, dpi: int) -> None:
    """Draw one figure into a folder, if the study has anything for it."""
    drawn = FIGURES[name](results)
    if drawn:
        figure, rows = drawn
        style.save(figure, folder, name, dpi, rows)


def read_variants(job) -> dict[str, style.Results]:
    """What is compared of every variant of the study, by name."""
    found = {}
    for number, (name, _) in enumerate(job.slice.get("variants", ())):
        paths = {table: job.inputs[f"variants_{table}"][number] for table in ("summary", *COMPARED)}
        tables = {table: read_rows(paths[table]) for table in COMPARED}
        found[name] = style.Results(read_json(paths["summary"]), {}, tables, name, {})
    return found

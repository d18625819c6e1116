"""The recipes of docs/extend.md, followed to the letter in a copy of the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tree import HANGS, ROOT, Tree

TEXT = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
STEP = re.compile(
    r"^(?:In `(?P<into>[^`]+)`, after the line `(?P<line>[^\n]+)`:|At the end of `(?P<end>[^`]+)`:|"
    r"A new file `(?P<new>[^`]+)`:)\n\n```\w+\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
GENERATED = {
    "workflow/schemas/config.schema.json",
    "docs/config.md",
    "docs/tables.md",
    "src/progsem/study/baseline.json",
}
# What a reader would do next, in a Python of the copy: what must be there now, in numbers and pictures.
TRIED = {
    "A feature": """
study = small_study(probes={"features": ["facing", "walls_around"]})
job = write_results(here, study)
statistics.run(job)
rows = list(csv.DictReader(job.output("probes").open(encoding="utf-8")))
assert {"facing", "walls_around", "mean"} == {row["feature"] for row in rows}
cells = np.zeros((1, 2, 3), np.uint8)
none = np.zeros(1, np.uint8)
pose = np.array([[0, 1, 0]], np.uint8)
state = LANGUAGE.execution.ProgramStates(cells, pose, pose, pose, none, none)
assert LANGUAGE.features.labels(("walls_around",), state).tolist() == [[1]]
""",
    "A table and a figure": """
job = write_results(here, small_study())
statistics.run(job)
rows = list(csv.DictReader(job.output("endings").open(encoding="utf-8")))
assert rows and all(0 <= float(row["unfinished"]) <= 1 for row in rows)
assert drawn(job, "endings") == {"endings.png", "endings.pdf", "endings.csv"}
assert reporting.captions(Path("workflow/report/figures"))["endings"].title == "Endings"
""",
    "A config key": """
job = write_results(here, small_study())
statistics.run(job)
for other in set(figures.FIGURES) - {"lengths"}:
    del figures.FIGURES[other]
pictures = []
for grid in (True, False):
    drawing = figures_job(job, here / f"figures-{grid}")
    drawing.slice.update({section: job.slice[section] for section in figures.SECTIONS})
    drawing.slice["figures"]["grid"] = grid
    figures.run(drawing)
    pictures.append((here / f"figures-{grid}" / "lengths.png").read_bytes())
assert pictures[0] != pictures[1]
""",
    "A control": """
synthetic.CONTROL_SKILL["statement"] = 0.3
job = write_results(here, small_study(controls={"kinds": ["counts", "statement"]}))
statistics.run(job)
drawn(job, "baselines")
rows = list(csv.DictReader((here / "baselines.csv").open(encoding="utf-8")))
assert "statement" in {row["baseline"] for row in rows}
data = SimpleNamespace(
    source="generated",
    program=np.array([0, 0]),
    position=np.array([0, 1]),
    states=SimpleNamespace(split=np.array([0, 0])),
)
traced = SimpleNamespace(programs={"generated": np.array([[4, 2]], np.uint8)})
assert ControlInputs(None, traced).statement(data).tolist() == [[0, 1], [1, 0]]
""",
}
IMPORTS = """
import csv, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
sys.path.insert(0, "tests")
import synthetic
from synthetic import figures_job, small_study, write_results
from progsem.languages import LANGUAGE
from progsem.measures import statistics
from progsem.measures.tables import TABLES, read_rows
from progsem.plots import figures, style
from progsem.probing.controls import ControlInputs
from progsem.storage.files import read_json
from progsem.workflow import reporting
here = Path(sys.argv[1])


def drawn(job, name):
    results = style.Results(
        summary=read_json(job.output("summary")),
        gallery=read_json(job.output("gallery")),
        tables={table: read_rows(job.output(table)) for table in TABLES},
        title="title",
        sections={section: job.section(section) for section in figures.SECTIONS},
    )
    figures.draw(name, results, here, 60)
    return {path.name for path in here.glob(f"{name}.*")}
"""


def follow(recipe: str, root: Path) -> set[str]:
    """Do what a recipe says in a copy of the repository; returns the files that it names."""
    touched = set()
    for step in STEP.finditer(recipe):
        name = step["into"] or step["end"] or step["new"]
        path, before = root / name, ""
        if step["new"]:
            assert not path.exists()
        else:
            before = path.read_text(encoding="utf-8")
        if step["into"]:
            assert before.count(f"\n{step['line']}\n") == 1, step["line"]
            text = before.replace(f"\n{step['line']}\n", f"\n{step['line']}\n{step['code']}")
        else:
            text = before + step["code"]
        path.write_text(text, encoding="utf-8")
        touched.add(name)
    return touched


def test_every_recipe_is_followed():
    assert set(RECIPES) == set(TRIED)
    assert len(STEP.findall(TEXT)) == TEXT.count("```") // 2


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name, tmp_path):
    tree = Tree.copied(tmp_path / "progsem")

    def python(*arguments: str) -> None:
        # The copy's own folder as well: what runs in one may have been told not to look there.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree.root / "src"), str(tree.root)])}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tree.root,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=HANGS,
        )
        assert done.returncode == 0, done.stderr[-4000:]

    def files() -> dict[str, bytes]:
        kept = (path for path in tree.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(tree.root).as_posix(): path.read_bytes() for path in kept}

    before = files()
    touched = follow(RECIPES[name], tree.root)
    assert len(touched) <= {"A feature": 2, "A table and a figure": 3}.get(name, 4)
    python("-m", "reference")
    after = files()
    changed = {path for path in after if after[path] != before.get(path)}
    assert touched <= changed <= touched | GENERATED
    assert changed & GENERATED  # the recipe says that there is something to generate
    python("-c", IMPORTS + TRIED[name], str(tmp_path / "results"))

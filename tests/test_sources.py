"""The sources of a stage: all that it imports, nothing else, and a digest of their text."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tree import HANGS

from progsem.stages import MODULES
from progsem.storage import sources
from progsem.storage.sources import closure, code_digest, code_files

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
TOPICS = ("sampling", "features", "drawing", "playground", "text")


def python(code: str, source: Path = SOURCE) -> str:
    """What a new process prints that imports the package from `source`."""
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=HANGS,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    return answer.stdout


def digests(source: Path) -> str:
    """The digests of all stages, in order, of the package in `source`."""
    return python(
        f"from progsem.storage.sources import code_digest\nprint(*[code_digest(stage) for stage in {list(MODULES)}])",
        source,
    )


@pytest.mark.parametrize("stage", MODULES)
def test_closure_has_every_file_that_is_imported(stage, monkeypatch):
    """Import a stage in a process of its own: all of this package that it loads is found."""
    loaded = python(
        f"import sys, {MODULES[stage]}\n"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'progsem'], sep='\\n')"
    )
    counted, files = closure(MODULES[stage]), {Path(path) for path in loaded.split()}
    assert len(counted) > 3
    assert all(path.is_file() for path in counted) and len(set(counted)) == len(counted)
    for name in sources.NOT_COUNTED:
        folder = SOURCE.joinpath(*name.split("."))
        assert not [path for path in counted if path.with_suffix("") == folder or folder in path.parents]
    monkeypatch.setattr(sources, "NOT_COUNTED", ())
    assert files <= set(closure(MODULES[stage]))


def test_closure_has_imports_inside_functions_and_not_the_other_stages():
    corpus = set(code_files("corpus"))
    assert {"data/corpus.py", "storage/files.py", "languages/karel/codes.py"} <= corpus
    assert not corpus & {"lm/train.py", "lm/model.py", "plots/figures.py", "measures/statistics.py"}
    assert "jobs/compiled.py" not in corpus and "hardware.py" in code_files("train")
    assert "data/encodings.py" in code_files("controls")  # imported inside a function


def test_modules_of_the_language_belong_to_the_stages_that_ask_for_them():
    """A new feature leaves the corpus and the models that were trained on it where they are."""
    asked = {stage: {path for path in code_files(stage) if path.startswith("languages/karel/")} for stage in MODULES}
    have = {topic: {stage for stage in MODULES if f"languages/karel/{topic}.py" in asked[stage]} for topic in TOPICS}
    assert have["sampling"] == {"corpus", "generalisation"}
    assert have["features"] == {"probes", "controls", "edits", "transcoders", "statistics", "playground"}
    assert have["drawing"] == have["playground"] | {"figures"} and have["playground"] == {"playground"}
    assert have["text"] >= {"tokens", "traces", "controls", "statistics"} and "corpus" not in have["text"]


def test_a_page_belongs_to_the_module_beside_it():
    drawing = {f"languages/karel/drawing.{kind}" for kind in ("py", "js", "css")}
    assert {"plots/viewer.py", "plots/viewer.html"} | drawing <= set(code_files("figures"))
    assert "plots/viewer.html" not in code_files("statistics")


def test_there_is_no_such_module():
    with pytest.raises(ValueError, match="no module progsem.nonsense"):
        closure("progsem.nonsense")


def test_a_changed_module_changes_the_stages_that_import_it_and_no_others(tmp_path):
    """Every module in turn: the digest of a stage changes exactly if the module is in its closure."""
    shutil.copytree(SOURCE / "progsem", tmp_path / "progsem", ignore=shutil.ignore_patterns("__pycache__"))
    before = dict(zip(MODULES, digests(tmp_path).split(), strict=True))
    assert before == {stage: code_digest(stage) for stage in MODULES}  # not of the place they stand in
    everywhere = {stage: set(code_files(stage)) for stage in MODULES}
    several = (
        "languages/karel/kernels.py",
        "measures/intervals.py",
        "lm/model.py",
        "plots/style.py",
        "plots/viewer.html",
    )
    for module in several:
        path = tmp_path / "progsem" / module
        text = path.read_text(encoding="utf-8")
        path.write_text(text + ("\nCHANGED = 1\n" if module.endswith(".py") else "<p>"), encoding="utf-8")
        after = dict(zip(MODULES, digests(tmp_path).split(), strict=True))
        changed = {stage for stage in MODULES if after[stage] != before[stage]}
        assert changed == {stage for stage, files in everywhere.items() if module in files}, module
        assert changed
        path.write_text(text, encoding="utf-8")
        path.touch()
    assert dict(zip(MODULES, digests(tmp_path).split(), strict=True)) == before


def reworded(source: str) -> str:
    """The same code with other comments, docstrings and layout, and no type comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0].value.value = "Other words."
    return "# Another comment.\n" + ast.unparse(tree).replace("\n\n", "\n\n\n# One more.\n")


def test_wording_and_layout_do_not_count(tmp_path):
    """Every comment, docstring and line break of every module is another one; then one constant is."""
    shutil.copytree(SOURCE / "progsem", tmp_path / "progsem", ignore=shutil.ignore_patterns("__pycache__"))
    before = digests(tmp_path)
    for path in (tmp_path / "progsem").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(reworded(text), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != text
    assert digests(tmp_path) == before
    path = tmp_path / "progsem" / "probing" / "fits.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("WARMUP = 0.05", "WARMUP = 0.06"), encoding="utf-8")
    changed = dict(zip(MODULES, zip(before.split(), digests(tmp_path).split(), strict=True), strict=True))
    assert {stage for stage, (one, other) in changed.items() if one != other} == {
        "probes",
        "controls",
        "edits",
        "transcoders",
    }


def test_line_ends_do_not_count(tmp_path):
    """A checkout under another setting of git's has the same digests, and shares results."""
    shutil.copytree(SOURCE / "progsem", tmp_path / "progsem", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (path for kind in ("*.py", "*.html", "*.js", "*.css") for path in (tmp_path / "progsem").rglob(kind)):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert digests(tmp_path).split() == [code_digest(stage) for stage in MODULES]


def test_a_checkout_has_the_same_bytes_whatever_git_is_set_to(tmp_path):
    """Files of each kind, committed and checked out again where git would change their line ends."""
    kinds = {
        path.relative_to(ROOT)
        for pattern in ("Makefile", "Snakefile", "*.yaml", ".ci/run", "src/progsem/*.py", "docs/images/*.png")
        for path in list(ROOT.glob(pattern))[:1]
    }
    assert len(kinds) == 6

    def git(*arguments: str) -> str:
        settings = ("-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout

    git("init", "-q")
    for path in (Path(".gitattributes"), *kinds):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    git("add", "--all")
    git("commit", "-q", "-m", "all")
    for path in kinds:
        (tmp_path / path).unlink()
    git("checkout", "--", ".")
    for path in kinds:
        assert (tmp_path / path).read_bytes() == (ROOT / path).read_bytes(), path
    assert git("status", "--porcelain") == ""

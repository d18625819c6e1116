"""Locales that are not UTF-8, and folders with any name: the same bytes come out of the same study."""

import ast
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import debian
import pytest
from kills import artifacts
from tree import HANGS, ROOT, TINY, Tree

TITLE = "Ünï … 日本"
LOCALES = ("en_US.ISO-8859-1", "ja_JP.EUC-JP")
CLONE = "a{b}c d'e\"é"  # the bytes of é are a character of each of these encodings: Python can start there


@pytest.fixture(scope="session")
def locales(tmp_path_factory) -> dict[str, dict[str, str]]:
    """The environment variables that set each locale, by its name."""
    said = "it is there"
    if not (shutil.which("localedef") and Path("/usr/share/i18n/charmaps").is_dir()):
        said = debian.install("locales")
    if not shutil.which("localedef"):
        pytest.skip(f"no localedef to make locales with ({said}); Debian: apt install locales")
    folder = tmp_path_factory.mktemp("locales")
    for name in LOCALES:
        language, charset = name.split(".")
        subprocess.run(["localedef", "-i", language, "-f", charset, folder / name], check=True, capture_output=True)
    # In C, Python does as in C.UTF-8.
    return {"C": {"LC_ALL": "C"}} | {name: {"LC_ALL": name, "LOCPATH": str(folder)} for name in LOCALES}


class Elsewhere(Tree):
    """A copy of the repository whose user has another locale."""

    variables: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        """That of a user with the locale."""
        known = {name: value for name, value in super().environment().items() if name not in ("LANG", "PYTHONUTF8")}
        return known | self.variables

    def ask(self, *arguments: str) -> subprocess.CompletedProcess:
        """In a Python of its own, which takes the locale when it starts."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=HANGS,
        )


@pytest.fixture(scope="module")
def elsewhere(tree, locales, tmp_path_factory) -> Elsewhere:
    """The tiny study with a title, run in a folder with an odd name under a locale that is not UTF-8.

    What is computed from a checkpoint is there already, but for the last one: the same program makes it. So is what
    other stages write in the same way.
    """
    other = Elsewhere.copied(tmp_path_factory.mktemp("elsewhere") / CLONE)
    for stage in ("interventions", "edits", "transcoders", "generalisation", "synthesis"):
        shutil.copytree(tree.root / "results" / stage, other.root / "results" / stage)
    for stage in ("traces", "probes", "controls"):
        earlier = shutil.ignore_patterns("step-000020")
        shutil.copytree(tree.root / "results" / stage, other.root / "results" / stage, ignore=earlier)
    other.variables = locales["ja_JP.EUC-JP"]
    text = (ROOT / TINY[1]).read_text(encoding="utf-8").replace("figures:\n", f'figures:\n  title: "{TITLE}"\n')
    (other.root / "titled.yaml").write_text(f"# A comment … {TITLE}\n{text}", encoding="utf-8")
    other.snakemake("--cores", "2", "--configfile", "titled.yaml")
    return other


def figures(tree: Tree) -> dict[str, str]:
    """SHA-256 of each drawn file, by its name."""
    return {name: digest for name, digest in artifacts(tree).items() if name.startswith("figures/")}


def test_the_same_results(tree, elsewhere):
    """As of the same study without a title; only what shows the title is another."""
    expected, found = artifacts(tree), artifacts(elsewhere)
    assert found.keys() == expected.keys()
    differing = {name for name in found if found[name] != expected[name]}
    assert differing and {Path(name).suffix for name in differing} <= {".png", ".pdf", ".html", ".md"}
    assert {name.split("/")[0] for name in differing} == {"figures"}


@pytest.mark.parametrize("name", ["C", "en_US.ISO-8859-1"])
def test_the_same_figures(elsewhere, locales, name):
    """Drawn again under another locale."""
    drawn = figures(elsewhere)
    page = (elsewhere.root / "results/figures/trace_viewer.html").read_text(encoding="utf-8")
    assert TITLE in page
    elsewhere.variables = locales[name]
    assert elsewhere.planned("--configfile", "titled.yaml") == {}
    shutil.rmtree(elsewhere.root / "results/figures")
    elsewhere.snakemake("--cores", "2", "--configfile", "titled.yaml")
    assert figures(elsewhere) == drawn


def test_the_same_report(elsewhere, locales, tmp_path):
    """Its pages and captions are UTF-8 as well; times of day stand in it."""
    texts = {}
    for name, variables in locales.items():
        elsewhere.variables = variables
        said = elsewhere.snakemake("--configfile", "titled.yaml", "--report", str(tmp_path / f"{name}.zip"))
        assert "Error" not in said and "Traceback" not in said
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            texts[name] = {
                path.removeprefix(name): hashlib.sha256(archive.read(path)).hexdigest()
                for path in archive.namelist()
                if not path.endswith("report.html")
            }
            page = archive.read(f"{name}/report.html").decode()
            texts[name]["page"] = re.sub(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d\S*|\d+\.\d+", "", page)
    assert texts["C"] == texts["en_US.ISO-8859-1"] == texts["ja_JP.EUC-JP"]


@pytest.mark.parametrize("words", [["plan", "titled.yaml"], ["verify"], ["artifacts", "titled.yaml"], ["--help"]])
@pytest.mark.parametrize("name", LOCALES)
def test_commands_say_what_the_locale_lacks(elsewhere, locales, name, words):
    """In the locale's encoding, with escapes for what it does not have."""
    elsewhere.variables = locales[name]
    command = [sys.executable, "-m", "progsem", *words]
    environment = elsewhere.environment() | {"PYTHONPATH": str(elsewhere.root / "src")}
    answer = subprocess.run(command, cwd=elsewhere.root, env=environment, capture_output=True, timeout=HANGS)
    assert answer.returncode == 0 and answer.stderr == b""
    assert answer.stdout.decode(name.split(".")[1])


def test_every_profile_can_be_read_under_any_locale():
    """Snakemake reads them before the Snakefile, in the locale's encoding."""
    for profile in ROOT.glob("**/config.yaml"):
        if profile.parent != ROOT and ".venv" not in profile.parts:
            assert profile.read_bytes().isascii(), profile


def without_encoding(source: str) -> list[int]:
    """Lines with a call that takes the locale's encoding for text, of the kinds that ruff does not find."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        given = {keyword.arg for keyword in call.keywords}
        name = getattr(call.func, "attr", "")
        of_process = name in ("run", "Popen", "check_output") and {"text", "universal_newlines"} & given
        of_text = name in ("read_text", "write_text") or of_process
        if of_text and "encoding" not in given:
            found.append(call.lineno)
    return found


@pytest.mark.parametrize("source", ["path.read_text()", "path.write_text('x')", "subprocess.run([], text=True)"])
def test_the_scanner_finds(source):
    assert without_encoding(source)


def test_text_is_utf_8_everywhere():
    folders = ("src", "benchmarks", "tests", "workflow")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if ".venv" not in str(path)]
    assert len(sources) > 100
    assert {str(path): found for path in sources if (found := without_encoding(path.read_text(encoding="utf-8")))} == {}

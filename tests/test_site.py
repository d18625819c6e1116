"""The site of the documentation: built without a warning, opened in a browser without an error or the network."""

import json
import os
import re
import subprocess
import sys

import jupytext
import pytest
from tree import ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
PHONE = 390


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = tmp_path_factory.mktemp("site")
    answer = subprocess.run(
        [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "docs", made, "-d", made / ".doctrees"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert answer.returncode == 0, answer.stderr
    return made


@pytest.fixture(scope="module")
def page(browser):
    return browser


def test_every_page_opens_without_an_error_or_the_network(site, page):
    pages = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    assert len(pages) > 30
    for path in pages:
        page.open(path)
        assert page.complaints == [], path
        assert all(address.startswith(("file:", "data:", "blob:")) for address in page.asked), path


def test_no_page_is_wider_than_a_phone(site, page):
    page.size(PHONE, 844)
    for name in ("index", "config", "reference", "figures", "tutorials/first_look", "tables"):
        page.open(site / f"{name}.html")
        assert page.run("document.documentElement.scrollWidth") <= PHONE, name


def test_every_page_is_in_the_menu_and_every_document_is_a_page(site):
    menu = (site / "index.html").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert (site / f"{path.stem}.html").exists()
        assert path.stem == "index" or f'href="{path.stem}.html"' in menu, path.stem


@pytest.mark.parametrize("sought, found", [("prompt_weight", "config.html"), ("open_study", "reference.html")])
def test_the_search_finds_keys_and_functions(site, page, sought, found):
    page.open(site / "search.html", f"?q={sought}")
    page.wait("document.querySelectorAll('#search-results li a').length > 0")
    links = page.run(
        "[...document.querySelectorAll('#search-results li a')].map(link => link.getAttribute('href')).join(' ')"
    )
    assert found in links


def test_the_reference_has_everything_that_is_public(site):
    import progsem

    text = (site / "reference.html").read_text(encoding="utf-8")
    for name in progsem.__all__:
        assert f'id="progsem.{name}"' in text, name


def test_the_trace_viewer_is_inside(site, page):
    page.open(site / "trace_viewer.html")
    assert page.complaints == [] and page.run("document.querySelectorAll('#world svg').length") > 0
    assert '<iframe src="trace_viewer.html"' in (site / "figures.html").read_text(encoding="utf-8")


# Tutorials.


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, finished):
    """As it stands, on the tiny study."""
    text = re.sub(r'open_study\("[^"]*"\)', 'open_study("studies/tiny.yaml")', path.read_text(encoding="utf-8"))
    assert "tiny" in text
    small = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONPATH": str(ROOT / "src"), "TQDM_DISABLE": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", text], cwd=finished, capture_output=True, encoding="utf-8", env=os.environ | small
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_what_the_site_shows_is_the_tutorial(path):
    """Cells are those of the text, and all have been run, in order and without a complaint."""
    shown = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    wanted = [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in shown["cells"]] == wanted, "run `make tutorials`"
    code = [cell for cell in shown["cells"] if cell["cell_type"] == "code"]
    assert 6 <= len(code) <= 12 and [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = json.dumps([cell["outputs"] for cell in code])
    assert '"output_type": "error"' not in outputs and "Warning" not in outputs

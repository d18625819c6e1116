"""`snakemake --report`: every figure with its caption and the trace viewer, wherever the results are."""

import base64
import json
import os
import re
import shutil
import subprocess
import zipfile
from html import unescape
from pathlib import Path

import pytest
from kills import artifacts
from tree import HANGS, ROOT, TINY, Tree, say, tiny

from progsem.plots import figures
from progsem.workflow import reporting

CAPTIONS = ROOT / "workflow" / "report" / "figures"
DRAWN = Path("results/figures")
# Of what stands there; and PDFs, which are the figures again.
LEFT_OUT = {".snakemake_timestamp", "manifest.json", "playground.html"}


def held(report: Path, script: str):
    """What a script of that name holds in a page: `results` by path, paths by `categories`, text of `workflow-desc`."""
    text = (report / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(rf'<script id="{script}">\s*var \w+ = (.*);\s*</script>', text)[1])


@pytest.fixture(scope="module")
def report(tree, tmp_path_factory) -> Path:
    """The folder of an unpacked report of the tiny study."""
    folder = tmp_path_factory.mktemp("report")
    said = tree.snakemake(*TINY, "--report", str(folder / "tiny.zip"))
    assert "Missing" not in said and "WARNING" not in said and "progsem:" not in said
    with zipfile.ZipFile(folder / "tiny.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder / "tiny"


@pytest.fixture(scope="module")
def browser(browser):
    browser.size(1400, 900)
    return browser


@pytest.fixture(scope="module")
def elsewhere(tree, tmp_path_factory) -> Tree:
    """The results of the tiny study on another machine: without Snakemake's records of them."""
    other = Tree.copied(tmp_path_factory.mktemp("elsewhere") / "progsem")
    shutil.copytree(tree.root / "results", other.root / "results")
    return other


# --------------------------------------------------------------------- captions


def test_every_figure_has_a_caption_and_every_caption_a_figure():
    captioned = reporting.captions(CAPTIONS)
    assert set(captioned) == set(figures.FIGURES) | {"trace_viewer", "summary", "paper_vs_ours"}
    assert len({heading.title for heading in captioned.values()}) == len(captioned)
    assert {heading.category for heading in captioned.values()} == {
        "Language model",
        "Semantic content",
        "Alternative semantics",
        "Edits",
        "Step by step",
        "Numbers",
    }


def test_captions_name_facts_that_there_are():
    known, quoted = set(reporting.facts(tiny())), set()
    for path in [*CAPTIONS.glob("*.rst"), CAPTIONS.parent / "study.rst"]:
        names = set(re.findall(r"\|(\w+)\|", path.read_text(encoding="utf-8")))
        assert names <= known, path
        quoted |= names
    assert quoted == known


@pytest.mark.parametrize(
    ("change", "fact", "text"),
    [
        ({"lm": {"seeds": [3, 5]}}, "model", "2 LM seeds (3, 5)"),
        ({"lm": {"seeds": [3, 5]}, "probes": {"seeds": 2}}, "intervals", "resamples) and 2 LM seeds"),
        ({"probes": {"seeds": 2}}, "intervals", "resamples) and 2 probe seeds"),
        ({"lm": {"seeds": [3, 5]}}, "intervals_of_programs", "over test programs (100 bootstrap resamples) and 2 LM"),
        ({"probes": {"layer": "layer_1"}, "traces": {"layers": "each"}}, "probing", "on states (layer 1) of 60"),
        ({"statistics": {"confidence": 0.9, "resamples": 3000}}, "intervals", "90 %, over test programs (3,000 "),
        ({"programs": {"test_length": [3, 3]}}, "n", "made from programs of 3 statements"),
        ({"corpus": {"programs": __file__}}, "n", "made from programs of 1 to 4 statements (from a file)"),
        ({"corpus": {"programs": __file__, "programs_for": "all"}}, "data", "of 1 to 4 statements (from a file)"),
        ({"traces": {"outputs": "blank"}}, "n", "with their outputs blanked"),
        ({"probes": {"drop_final": True}}, "states", "without each program's last state"),
    ],
)
def test_facts_are_those_of_the_study(change, fact, text):
    assert text in reporting.facts(tiny(change))[fact]
    assert text not in reporting.facts(tiny())[fact]


def test_a_caption_without_a_heading_is_refused(tmp_path):
    (tmp_path / "training.rst").write_text(".. title: Only that\n\nText.\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"training.rst: given \['title'\], expected comments"):
        reporting.captions(tmp_path)


# ------------------------------------------------------------------- the report


def test_every_figure_is_in_the_report_as_it_was_drawn(tree, report):
    listed = held(report, "results")
    there = {path for path in (tree.root / DRAWN).iterdir() if path.suffix != ".pdf" and path.name not in LEFT_OUT}
    assert {Path(path).name for path in listed} == {path.name for path in there}
    for path in there:
        assert (report / listed[f"{DRAWN}/{path.name}"]["data_uri"]).read_bytes() == path.read_bytes()


def test_captions_state_the_parameters(report):
    captioned = reporting.captions(CAPTIONS)
    for path, result in held(report, "results").items():
        heading = captioned[Path(path).stem]
        caption = unescape(re.sub(r"<[^>]*>|\s+", " ", result["caption"]))
        assert result["labels"] == {"figure": heading.title, "as": reporting.KINDS[Path(path).suffix[1:]]}
        assert len(caption) > 150 and "|" not in caption
        assert "problematic" not in result["caption"] and "system-message" not in result["caption"]
        if Path(path).stem != "summary":
            assert "CodeGen, 2 layers of width 32" in caption and "20 steps of 16 programs" in caption
        if Path(path).stem not in ("gallery", "generalisation") and not Path(path).stem.startswith("synthesis"):
            assert "n = 60 test specifications" in caption
        if Path(path).stem not in ("gallery", "features", "trace_viewer"):
            assert "Intervals: 95 %, over test programs (100 bootstrap resamples)" in caption
    for category, subcategories in held(report, "categories").items():
        for path in subcategories["Other"]:
            assert captioned[Path(path).stem].category == category
    description = held(report, "workflow-desc")
    assert "progsem: tiny" in description and "2,000 training programs of 1 to 4 statements" in description
    assert "system-message" not in description


def test_a_browser_shows_it_all(report, browser):
    browser.open(report / "report.html")
    browser.wait("document.querySelector('#app li') !== null")
    menu = browser.run("document.querySelector('#app').innerText")
    for category in ("Language model", "Semantic content", "Alternative semantics", "Step by step", "Numbers"):
        assert category in menu
    assert "Does a language model that learns to write programs represent" in menu
    for path in browser.run("Object.keys(results).filter(path => path.endsWith('.png'))"):
        browser.run(f"app.setView({{content: 'img', contentPath: results[{path!r}].data_uri, resultPath: {path!r}}})")
        browser.wait("[...document.querySelectorAll('#app img')].some(one => one.complete && one.naturalWidth > 300)")
        browser.run(f"app.showResultInfo({path!r})")
        browser.wait("document.querySelector('#app').innerText.includes('DESCRIPTION')")
        assert "CodeGen, 2 layers of width 32" in browser.run("document.querySelector('#app').innerText")
    step_through_the_viewer(browser)
    assert all(address.startswith(("file:", "data:")) for address in browser.asked)
    # What Snakemake's own page says of the style sheet that it holds.
    assert [said for said in browser.complaints if "tailwindcss" not in said] == []


def step_through_the_viewer(browser) -> None:
    """Open the trace viewer inside a report as a reader does, and press a key in it."""
    browser.run("app.showCategory('Step by step')")
    browser.wait("document.querySelector('#app').innerText.includes('Trace viewer')")
    row = "[...document.querySelectorAll('#app tr')].find(row => row.innerText.includes('Trace viewer'))"
    browser.run(f"{row}.querySelector('a').click()")
    browser.wait("document.querySelector('iframe') !== null")
    browser.wait("document.querySelector('#viewer')?.hidden === false", inside=True)
    browser.click("iframe")
    before = browser.run_inside("document.querySelector('#world-head').textContent")
    browser.press("ArrowLeft")
    assert before.startswith("After statement 1: ")
    assert browser.run_inside("document.querySelector('#world-head').textContent") == "The input"


def test_a_report_in_one_file_holds_the_viewer_too(tree, browser, tmp_path):
    tree.snakemake(*TINY, "--report", str(tmp_path / "report.html"))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    browser.open(tmp_path / "report.html")
    browser.wait("document.querySelector('#app li') !== null")
    step_through_the_viewer(browser)
    assert all(address.startswith(("file:", "data:")) for address in browser.asked)


def test_a_report_disturbs_nothing(tree, report):
    assert tree.planned(*TINY) == {}
    assert artifacts(tree) == tree.undisturbed


# -------------------------------------------------------------------- elsewhere


def test_results_from_elsewhere_are_reported_without_a_network(elsewhere, tmp_path):
    command = elsewhere.command(*TINY, "--report", str(tmp_path / "report.zip"))
    alone = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode == 0:
        command = alone + command
    said = subprocess.run(
        command, cwd=elsewhere.root, env=elsewhere.environment(), capture_output=True, encoding="utf-8", timeout=HANGS
    )
    assert said.returncode == 0, said.stderr
    assert "Missing" not in said.stdout + said.stderr
    assert zipfile.ZipFile(tmp_path / "report.zip").testzip() is None


def test_marks_of_a_run_that_was_killed_do_not_matter(elsewhere, tmp_path):
    mark = elsewhere.root / ".snakemake" / "incomplete" / base64.urlsafe_b64encode(str(DRAWN).encode()).decode()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    elsewhere.snakemake(*TINY, "--report", str(tmp_path / "report.zip"))
    assert not mark.exists()


def test_other_figures_are_refused(elsewhere, tmp_path):
    command = (*TINY, "--report", str(tmp_path / "report.zip"))
    other = elsewhere.ask(*command, *say({"figures": {"title": "another"}}))
    os.rename(elsewhere.root / DRAWN, tmp_path / "away")
    try:
        none = elsewhere.ask(*command)
    finally:
        os.rename(tmp_path / "away", elsewhere.root / DRAWN)
    for answer, lacking in ((other, ".snakemake/figures_of_this_study"), (none, "results/figures")):
        assert answer.returncode == 1 and "Traceback" not in answer.stdout
        assert f"File {lacking} marked for report but does not exist." in answer.stdout
    assert not (tmp_path / "report.zip").exists()


def test_a_title_cannot_end_the_report_s_script(elsewhere):
    """Reports hold the parameters of the rule that draws, in a script."""
    said = elsewhere.snakemake(*TINY, "-n", "-p", "-f", "figures", *say({"figures": {"title": "a</script>{b}"}}))
    (command,) = re.findall(r"^.*python -m progsem figures .*$", said, re.MULTILINE)
    assert r"a\u003c/script>{b}" in command and "</script" not in command

"""Figures: every file is there, the same bytes again, and no gap in the data stops them."""

import csv
import json

import matplotlib
import numpy as np
import pytest
from synthetic import figures_job, small_study, write_results

from progsem import figures, manifest, statistics
from progsem.artifacts import read_json
from progsem.errors import UserError
from progsem.plots import content, style, training

MIRROR = {"turn_left": "turn_right", "turn_right": "turn_left"}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    study = small_study(interventions={"alternatives": {"mirror": MIRROR}, "difficulty_matched": "mirror"})
    computed = write_results(folder, study, babbling=400)
    statistics.run(computed)
    return figures_job(computed, folder / "results" / "figures", title="A title from the config")


@pytest.fixture(scope="module")
def drawn(job):
    folder = job.output("directory")
    folder.mkdir(parents=True)
    (folder / "stale.png").write_text("of an earlier study")
    figures.run(job)
    return folder


def results_of(job):
    return style.Results(
        summary=read_json(job.input("summary")),
        gallery=read_json(job.input("gallery")),
        tables={name: figures.read_rows(job.input(name)) for name in figures.TABLES},
        title="title",
    )


def test_the_folder_holds_every_figure_and_nothing_else(drawn):
    expected = {f"{name}.{kind}" for name in figures.FIGURES for kind in ("png", "pdf", "csv")}
    assert {path.name for path in drawn.iterdir()} == expected | {"summary.json", "manifest.json"}
    assert set(manifest.read(drawn / "manifest.json")["files"]) == expected | {"summary.json"}
    assert [path.name for path in drawn.parent.iterdir()] == ["figures"]
    for name in figures.FIGURES:
        assert (drawn / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (drawn / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_summary_is_the_statistics_own(job, drawn):
    assert (drawn / "summary.json").read_bytes() == job.input("summary").read_bytes()


def test_tables_hold_the_numbers_drawn(job, drawn):
    with open(drawn / "content_vs_accuracy.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    last = [row for row in rows if (row["step"], row["source"], row["depth"]) == ("1200", "generated", "mlp2")]
    summary = json.loads(job.input("summary").read_text())
    assert float(last[0]["accuracy"]) == summary["semantic_content"]["mlp2"]
    assert float(last[0]["generative_accuracy"]) == summary["generative_accuracy"]
    assert "0" not in {row["step"] for row in rows}  # the untrained model is no point of the regression


def test_the_same_numbers_give_the_same_bytes(job, drawn, tmp_path):
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style.CONTEXT)
        results = results_of(job)
        object.__setattr__(results, "title", "A title from the config")
        figure, rows = content.draw_regression(results)
        style.save(figure, tmp_path, "content_vs_accuracy", 100, rows)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (drawn / path.name).read_bytes(), path.name


def test_a_failure_leaves_the_old_folder_alone(job, drawn, tmp_path):
    broken = tmp_path / "summary.json"
    broken.write_text("{")
    before = sorted(path.name for path in drawn.iterdir())
    inputs = {**job.inputs, "summary": [broken]}
    with pytest.raises(UserError, match="summary.json"):
        figures.run(type(job)("figures", job.slice, inputs, job.outputs))
    with pytest.raises(ZeroDivisionError), figures.replacing_folder(drawn) as new:
        (new / "half.png").write_text("half")
        raise ZeroDivisionError
    assert sorted(path.name for path in drawn.iterdir()) == before
    assert [path.name for path in drawn.parent.iterdir()] == ["figures"]


def test_intervals_sizes_and_title_are_said(job):
    figure, _ = training.draw(results_of(job))
    text = "\n".join(item.get_text() for item in figure.texts)
    assert "title: " in text and "400 test specifications" in text and "95% bootstrap intervals" in text


@pytest.mark.parametrize(
    "case",
    [
        {"study": {"interventions": {"alternatives": {}}}, "babbling": 0},
        {
            "study": {"interventions": {"alternatives": {"mirror": MIRROR}, "difficulty_matched": "mirror"}},
            "babbling": 900,
        },
        {
            "study": {
                "interventions": {"alternatives": {"mirror": MIRROR}, "difficulty_matched": "mirror"},
                "probes": {"features": ["wall_ahead"], "depths": {"linear": []}, "sources": ["generated"], "seeds": 1},
            },
            "babbling": 0,
        },
    ],
    ids=["no alternatives", "nothing generated to probe", "one of everything"],
)
def test_what_is_missing_stops_no_figure(case, tmp_path):
    study = small_study(lm={"steps": 200, "checkpoint_every": 200}, **case["study"])
    computed = write_results(tmp_path, study, babbling=case["babbling"])
    statistics.run(computed)
    results = results_of(figures_job(computed, tmp_path / "figures"))
    with matplotlib.rc_context():
        matplotlib.rcParams.update(style.CONTEXT)
        for name, draw in figures.FIGURES.items():
            figure, _ = draw(results)
            figure.savefig(tmp_path / f"{name}.png", dpi=40)


def test_phases_without_a_boundary_are_not_shaded():
    unknown = {"syntax_start": None, "semantics_start": None}
    assert style.phase_bounds(unknown, 0, 10) == [(0, 0)] * 3
    assert style.phase_bounds({"syntax_start": 2, "semantics_start": 6}, 0, 10) == [(0, 2), (2, 6), (6, 10)]
    assert style.phase_bounds({"syntax_start": None, "semantics_start": 6}, 0, 10) == [(0, 6), (6, 6), (6, 10)]


def test_labels_are_spread_but_keep_their_order():
    spread = style.spread_labels(np.array([1.0, 1.01, 5.0, 0.99]), 0.5)
    assert np.diff(np.sort(spread)).min() >= 0.5 - 1e-6
    assert (np.argsort(spread) == [3, 0, 1, 2]).all()

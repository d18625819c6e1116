"""Figures: every file is there, the same bytes again, and no gap in the data stops them."""

import contextlib
import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic import figures_job, small_study, write_results

from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.measures import statistics
from progsem.measures.tables import read_rows
from progsem.plots import figures, style, training
from progsem.plots.paper import page
from progsem.storage import manifest
from progsem.storage.files import read_json, write_json

MIRROR = {"turn_left": "turn_right", "turn_right": "turn_left"}
ALTERNATIVE = {"alternatives": {"mirror": MIRROR}, "difficulty_matched": "mirror"}
EVERYTHING = {
    "interventions": {
        "alternatives": {"mirror": MIRROR, "other": {"move": "turn_left", "turn_left": "move"}},
        "difficulty_matched": "mirror",
        "offsets": [-1, 0, 1],
        "permutations": 2,
    },
    "controls": {
        "kinds": ["counts", "prefix", "start", "text", "embedding", "layers", "shuffled", "description_length"],
        "checkpoints": "every",
    },
    "traces": {"layers": "each"},
    "probes": {"depths": {"linear": [], "mlp2": [8, 16]}, "positions": [[0, 2]]},
    "edits": {"features": ["facing", "offset_from_start"], "dimensions": [1, 4], "permutations": 1},
    "synthesis": {
        "writers": ["uniform", "bigram", "enumeration", "greedy", "temperature", "top_p", "beam"],
        "samples": 20,
        "test": 100,
        "checkpoints": "ends",
    },
    "transcoders": {"kinds": ["transcoder", "autoencoder"]},
    "generalisation": {"sets": {"longer": {"statements": 2}, "larger": {"cells": 1}}},
    "lm": {"steps": 600, "decay_steps": 600},
}
NOTHING = {
    "interventions": {"alternatives": {}},
    "controls": {"kinds": []},
    "generalisation": {"sets": {}},
    "lm": {"steps": 200, "decay_steps": 200},
}
# What a study that asks for no more has: no alternatives, controls, layers, pairs or sets.
ALWAYS = {"training", "content_vs_accuracy", "offsets", "positions", "generalisation", "lengths", "gallery"}
BESIDE = {"summary.json", "trace_viewer.html", "playground.html", "paper_vs_ours.md", "paper_vs_ours.csv"}


def a_job(folder, babbling=0, compared=False, **sections):
    """The job that draws a synthetic study, its statistics computed; `compared`: beside itself, as two variants.

    They are the same, but that one says of itself that it is three times as large.
    """
    computed = write_results(folder, small_study(**sections), babbling=babbling)
    statistics.run(computed)
    larger = folder / "larger.json"
    about = read_json(computed.output("summary"))
    write_json(larger, about | {"sizes": about["sizes"] | {"parameters": 900_000}})
    other = replace(computed, outputs=computed.outputs | {"summary": [larger]})
    variants = {"one variant": computed, "the-other": other} if compared else {}
    return figures_job(computed, folder / "results" / "figures", "A title from the config", variants)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return a_job(tmp_path_factory.mktemp("figures"), babbling=200, compared=True, **EVERYTHING)


@pytest.fixture(scope="module")
def drawn(job):
    folder = job.output("directory")
    figures.run(job)
    return folder


def results_of(job, title="title"):
    return replace(figures.read(job), title=title)


@pytest.fixture
def looks():
    """Everything looks as in the stage itself."""
    with figures.looks():
        yield


def test_the_folder_holds_every_figure_and_nothing_else(drawn):
    expected = {f"{name}.{kind}" for name in figures.FIGURES for kind in ("png", "pdf", "csv")} | BESIDE
    assert {path.name for path in drawn.iterdir()} == expected | {"manifest.json"}
    assert set(manifest.read(drawn / "manifest.json")["files"]) == expected
    assert [path.name for path in drawn.parent.iterdir()] == ["figures"]
    for name in figures.FIGURES:
        assert (drawn / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (drawn / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_figures_of_what_was_not_asked_for_are_left_out(tmp_path):
    job = a_job(tmp_path, **NOTHING)
    figures.run(job)
    folder = job.output("directory")
    expected = {f"{name}.{kind}" for name in ALWAYS for kind in ("png", "pdf", "csv")} | BESIDE
    assert {path.name for path in folder.iterdir()} == expected | {"manifest.json"}


def test_summary_is_the_statistics_own(job, drawn):
    assert (drawn / "summary.json").read_bytes() == job.input("summary").read_bytes()


def test_tables_hold_the_numbers_drawn(job, drawn):
    with open(drawn / "content_vs_accuracy.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    last = [row for row in rows if (row["step"], row["source"], row["depth"]) == ("600", "generated", "mlp2")]
    summary = json.loads(job.input("summary").read_text(encoding="utf-8"))
    assert float(last[0]["accuracy"]) == summary["semantic_content"]["mlp2"]
    assert float(last[0]["generative_accuracy"]) == summary["generative_accuracy"]
    assert "0" not in {row["step"] for row in rows}  # the untrained model is no point of the regression


def numbers_in(figure) -> np.ndarray:
    """Every number that is drawn: ends of lines, of bands and bars, heights, cells of heat maps."""
    found = []
    for axes in figure.axes:
        found += [line.get_xydata().ravel() for line in axes.lines]
        found += [path.vertices.ravel() for collection in axes.collections for path in collection.get_paths()]
        found += [np.array([patch.get_height()]) for patch in axes.patches if hasattr(patch, "get_height")]
        found += [np.ma.filled(image.get_array().astype(float), np.nan).ravel() for image in axes.images]
    found = np.concatenate(found).astype(float)
    return found[np.isfinite(found)]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("baselines", {"corrected": 1}),
        ("baselines_over_training", {"corrected": 1, "corrected_low": 1, "corrected_high": 1}),
        ("layers", {"corrected": 1}),
        ("positions", {"corrected": 1, "corrected_low": 1, "corrected_high": 1}),
        ("permutations", {"difference": 100, "corrected_first": 1, "corrected_second": 1, "entropy_first": 1}),
        ("generalisation", {"generative_accuracy": 1, "generative_accuracy_low": 1}),
        ("alternatives", {"corrected": 1, "corrected_low": 1, "accuracy": 1, "difference": 100, "ci_low": 100}),
        ("alternatives_by_offset", {"difference": 100, "ci_low": 100, "ci_high": 100}),
        ("alternatives_robustness", {"difference": 100, "ci_low": 100, "ci_high": 100}),
        ("training", {"generative_accuracy": 1, "unconstrained_parses": 1, "accuracy": 1}),
    ],
)
def test_every_number_in_the_csv_is_drawn(job, drawn, name, columns, looks):
    there = numbers_in(figures.FIGURES[name](results_of(job))[0])
    rows = read_rows(drawn / f"{name}.csv")
    for column, scale in columns.items():
        values = np.array([row[column] for row in rows if row[column] not in (None, "")], dtype=float) * scale
        assert len(values) > 2
        # Which of a mirror pair comes first means nothing, so the size of a difference may stand for it.
        gaps = np.abs(np.abs(values)[:, None] - np.abs(there)[None]).min(axis=1)
        assert gaps.max() < 1e-9, (name, column)


def test_variants_stand_side_by_side(job, drawn, looks):
    """Each has all measures, at the end and before training, and what the statistics say of them."""
    there = numbers_in(figures.FIGURES["variants"](results_of(job))[0])
    rows = read_rows(drawn / "variants.csv")
    first, second = ([row | {"variant": ""} for row in rows if row["variant"] == name] for name in job_names(job))
    beside = [{key: row.pop(key) for key in list(row) if key.startswith(("difference", "pairs"))} for row in second]
    assert {row["difference"] for row in beside} <= {0, None}  # beside the first, which is the same
    assert [{key: value for key, value in row.items() if key in second[0]} for row in first] == second
    assert {(row["measure"], row["step"]) for row in first} == {
        *((measure, step) for measure in ("solved", "read", "ahead_forced") for step in (0, 600)),
        *(("ahead_generated", 600), ("to_50", 600), ("to_90", 600), ("used", 600)),  # babbling has no states
    }
    for row in rows:
        scale = 100 if row["measure"].startswith("ahead") else 1e-6 if row["measure"].startswith("to_") else 1
        for end in ("value", "low", "high"):
            assert row[end] is None or np.abs(there - scale * row[end]).min() < 1e-9, (row, end)
    summary = json.loads(job.input("summary").read_text(encoding="utf-8"))
    (solved,) = (row["value"] for row in first if (row["measure"], row["step"]) == ("solved", 600))
    assert solved == summary["generative_accuracy"]


def job_names(job) -> list[str]:
    return [name for name, _ in job.slice["variants"]]


def test_the_same_numbers_give_the_same_bytes(job, drawn, tmp_path, looks):
    results = results_of(job, "A title from the config")
    for name in ("content_vs_accuracy", "baselines", "permutations"):
        figure, rows = figures.FIGURES[name](results)
        style.save(figure, tmp_path, name, 100, rows)
    page.write(results, tmp_path)
    assert len(list(tmp_path.iterdir())) == 11
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (drawn / path.name).read_bytes(), path.name


OF_EXAMPLES_OR_MODELS = {"gallery", "features", "transcoders", "scale"}  # whose numbers are not of test programs


@pytest.mark.parametrize("name", [name for name in figures.FIGURES if name not in OF_EXAMPLES_OR_MODELS])
def test_heading_and_notes_say_what_the_numbers_are(job, name, looks):
    figure, _ = figures.FIGURES[name](results_of(job))
    text = "\n".join(item.get_text() for item in figure.texts).replace("\n", " ")
    assert text.startswith("title: ")
    assert "95% intervals over test programs" in text
    assert "language model" in text
    for axes in figure.axes:
        if axes.axison and axes.get_xlabel() == "" and axes.get_xticklabels():
            below = [other for other in figure.axes if other.get_position().x0 == axes.get_position().x0]
            assert any(other.get_xlabel() for other in below), axes.get_title()


@pytest.mark.parametrize("seeds", [[0], [3, 5]], ids=["one language model", "two"])
def test_nothing_is_drawn_beyond_the_edges(job, seeds, tmp_path_factory, looks):
    if seeds == [0]:
        results = results_of(job, "A very long title of a study that somebody has given much thought " * 3)
    else:
        folder = tmp_path_factory.mktemp("several")
        sections = EVERYTHING | {"lm": {"steps": 400, "decay_steps": 400, "seeds": seeds}}
        results = results_of(a_job(folder, compared=True, **sections))
    for name, draw in figures.FIGURES.items():
        figure, _ = draw(results)
        figure.draw_without_rendering()
        width, height = figure.get_size_inches()
        around = figure.get_tightbbox()
        assert around.x0 > -0.02 and around.y0 > -0.02, name
        assert around.x1 < width + 0.02 and around.y1 < height + 0.02, name


def test_a_failure_leaves_the_old_folder_alone(job, drawn, tmp_path):
    broken = tmp_path / "summary.json"
    broken.write_text("{", encoding="utf-8")
    before = sorted(path.name for path in drawn.iterdir())
    inputs = {**job.inputs, "summary": [broken]}
    with pytest.raises(UserError, match="summary.json"):
        figures.run(type(job)("figures", job.slice, inputs, job.outputs))
    with pytest.raises(ZeroDivisionError), figures.filling(drawn, manifest.put) as new:
        (new / "half.png").write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    assert sorted(path.name for path in drawn.iterdir()) == before
    assert [path.name for path in drawn.parent.iterdir()] == ["figures"]


@pytest.fixture
def folder(tmp_path):
    """What was drawn: a figure that is drawn again, one that is not, and what the user has put beside them."""
    folder = tmp_path / "figures"
    fill(folder, {"training.png": "earlier", "layers.png": "earlier"})
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "paper").mkdir()
    (folder / "paper" / "fig1.svg").write_text("mine", encoding="utf-8")
    (folder / "link").symlink_to("notes.txt")
    (folder / ".snakemake_timestamp").touch()
    return folder


def fill(folder, files: dict[str, str]) -> None:
    """Put files and their manifest into a folder as the stage does."""
    made = Job("figures", {}, {}, {}, command="")
    with figures.filling(folder, manifest.put) as new:
        for name, text in files.items():
            (new / name).write_text(text, encoding="utf-8")
        manifest.write(made, new, [new / name for name in files])


def content(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }


def test_what_is_not_a_figure_of_ours_stays(folder):
    """Figures that are no longer drawn go; all that the user has put there stays as it is."""
    before = content(folder)
    fill(folder, {"training.png": "new", "lengths.png": "new"})
    after = content(folder)
    assert manifest.read(folder / "manifest.json")["files"].keys() == {"training.png", "lengths.png"}
    assert "layers.png" not in after and after.pop("training.png") == after.pop("lengths.png") == "new"
    mine = set(before) - {"training.png", "layers.png", "manifest.json"}
    assert {name: after[name] for name in after if name != "manifest.json"} == {name: before[name] for name in mine}
    assert (folder / "link").is_symlink()


def test_a_figure_that_the_user_has_changed_is_not_replaced(folder):
    """Nor is a file of the user's that has the name of a new one; what is in no one's way stays."""
    (folder / "layers.png").write_text("with arrows", encoding="utf-8")
    fill(folder, {"training.png": "new"})
    assert content(folder)["layers.png"] == "with arrows"
    before = content(folder)
    with pytest.raises(UserError, match="figures/layers.png: not as .*/manifest.json says.*move it elsewhere"):
        fill(folder, {"training.png": "newer", "layers.png": "newer"})
    assert content(folder) == before
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="training.png"):
        fill(folder, {"training.png": "newer"})


def test_a_link_or_a_file_in_the_place_of_the_folder_is_left(folder, tmp_path):
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(folder)
    file.write_text("mine", encoding="utf-8")
    dangling = tmp_path / "dangling"
    dangling.symlink_to("nowhere")
    before = content(folder)
    for place, what in ((link, "a symbolic link"), (file, "a file"), (dangling, "a symbolic link")):
        with pytest.raises(UserError, match=f"{place.name}: given {what}, expected a folder; move it"):
            fill(place, {"training.png": "new"})
    assert (
        content(folder) == before
        and file.read_text(encoding="utf-8") == "mine"
        and link.is_symlink()
        and dangling.is_symlink()
    )


def test_a_kill_while_figures_are_replaced_loses_nothing(folder, monkeypatch):
    """Whenever it comes, the manifest is no whole one until all are in place, and the next run goes through."""
    renamed = manifest.Path.replace
    for last in range(4):
        renames = iter(range(last))

        def until(path, target, renames=renames):
            if target.parent == folder and path.parent != folder and next(renames, None) is None:
                raise KeyboardInterrupt
            return renamed(path, target)

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(manifest.Path, "replace", until)
            fill(folder, {"training.png": f"new {last}", "lengths.png": f"new {last}"})
        if last < 3:
            with pytest.raises(UserError, match="not a whole manifest"):
                manifest.read(folder / "manifest.json")
        assert content(folder)["notes.txt"] == "mine"
    assert manifest.changed_or_unknown(folder) == {"notes.txt", "paper", "link"}


def test_one_language_model_or_how_many(job):
    figure, _ = training.training(results_of(job))
    text = "\n".join(item.get_text() for item in figure.texts)
    assert "title: it solves " in text and "One language model" in text


@pytest.mark.parametrize(
    "case",
    [
        {"interventions": {"alternatives": {}}},
        {"interventions": ALTERNATIVE | {"permutations": 1}, "babbling": 900},
        {
            "interventions": ALTERNATIVE,
            "probes": {"features": ["wall_ahead"], "depths": {"linear": []}, "sources": ["generated"], "seeds": 1},
        },
    ],
    ids=["no alternatives", "nothing generated to probe", "one of everything"],
)
def test_what_is_missing_stops_no_figure(case, tmp_path, looks):
    job = a_job(tmp_path, **{"lm": {"steps": 200, "checkpoint_every": 200}} | case)
    results = results_of(job)
    for draw in figures.FIGURES.values():
        made = draw(results)
        if made:
            made[0].draw_without_rendering()
    page.write(results, tmp_path)
    assert "None" not in (tmp_path / "paper_vs_ours.md").read_text(encoding="utf-8")


# What rows are told apart by, and counts: always there.
KEYS = set(
    "lm_seed step source states depth feature semantics alternative family offset difficulty_matched points measure "
    "baseline layer by value trained pair first second set length in_training_range comparison programs statements "
    "count tokens n n_test n_states n_programs n_points n_correct n_training edit control n_pairs n_apart n_flipped "
    "n_original n_alternative writer grammar budget n_solved share warmup_tokens kind".split()
)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_missing_value_stops_no_figure(job, share, tmp_path, looks):
    """A share of all numbers is missing, or all of them."""
    rng = np.random.default_rng(0)
    results = results_of(job)
    tables = [results.tables[table] for table in sorted(set(results.tables) - {"training", "lengths"})]
    tables += [table for one in results.variants.values() for table in one.tables.values()]
    for table in tables:
        for row in table:
            for column in row:
                if column not in KEYS and rng.random() < share:
                    row[column] = None
    for draw in figures.FIGURES.values():
        made = draw(results)
        if made:
            made[0].draw_without_rendering()
    page.write(results, tmp_path)
    assert "None" not in (tmp_path / "paper_vs_ours.md").read_text(encoding="utf-8")


def test_phases_without_a_boundary_are_not_shaded():
    unknown = {"syntax_start": None, "semantics_start": None}
    assert style.phase_bounds(unknown, 0, 10) == [(0, 0)] * 3
    assert style.phase_bounds({"syntax_start": 2, "semantics_start": 6}, 0, 10) == [(0, 2), (2, 6), (6, 10)]
    assert style.phase_bounds({"syntax_start": None, "semantics_start": 6}, 0, 10) == [(0, 6), (6, 6), (6, 10)]


def test_labels_are_spread_but_keep_their_order():
    spread = style.spread_labels(np.array([1.0, 1.01, 5.0, 0.99]), 0.5)
    assert np.diff(np.sort(spread)).min() >= 0.5 - 1e-6
    assert (np.argsort(spread) == [3, 0, 1, 2]).all()


def test_what_rounds_to_zero_has_no_sign():
    assert style.spelt(-0.002, -0.04, 0.03, ".0f", 100, "%") == "0% [−4, 3]"
    assert style.points(-0.0003, -0.1, 0.1) == "+0.0 [−10.0, 10.0]"

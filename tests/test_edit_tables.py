"""Tables of edits, on a synthetic study whose effects are known."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from synthetic import edit_effect, figures_job, small_study, write_results
from test_figures import results_of
from test_statistics import EDITS, refuse_lonely_numbers

from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.measures import statistics
from progsem.plots import figures
from progsem.plots.paper import claims
from progsem.storage.files import read_json, read_table, write_table

LAST = 600
STUDY = {
    "lm": {"steps": LAST, "decay_steps": LAST, "layers": 2, "seeds": [0, 1, 2]},
    "interventions": {"alternatives": {"mirror": {"turn_left": "turn_right", "turn_right": "turn_left"}}}
    | {"difficulty_matched": "mirror"},
    "edits": {"features": ["facing", "wall_ahead"], "dimensions": [1, 4], "permutations": 1},
}


@pytest.fixture(scope="module")
def study():
    return small_study(**STUDY)


@pytest.fixture(scope="module")
def job(tmp_path_factory, study):
    job = write_results(tmp_path_factory.mktemp("edits"), study)
    statistics.run(job)
    return job


def table(job, name: str, **where) -> list[dict]:
    """Rows of a table, as text, in which columns have these values."""
    with open(job.output(name), newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return [row for row in rows if all(row[key] == str(value) for key, value in where.items())]


def pairs_of(job, seed: int, step: int, semantics: str, where: dict) -> dict[str, np.ndarray]:
    """The rows of an edits.arrow that belong to one row of the table."""
    (path,) = (
        path
        for path in job.inputs["edits"]
        for about in [read_table(path)[1]]
        if (about["seed"], about["step"], about["semantics"]) == (seed, step, semantics)
    )
    columns, about = read_table(path)
    lists = {"feature": "features", "edit": "edits", "control": "controls", "source": "sources"}
    chosen = columns["layer"] == where["layer"]
    for name, of in lists.items():
        chosen &= columns[name] == about[of].index(where[name])
    return {name: values[chosen] for name, values in columns.items()}


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("semantics", ["original", "mirror"])
def test_scores_are_means_over_pairs(job, seed, semantics):
    where = {"feature": "wall_ahead", "edit": "learned_4", "control": "none", "source": "donor", "layer": 2}
    (row,) = table(job, "edits", lm_seed=seed, step=LAST, semantics=semantics, **where)
    pairs = pairs_of(job, seed, LAST, semantics, where)
    flipped = pairs["top_base"] != pairs["top_target"]
    effect = 1 - pairs["distance"].astype(float) / pairs["distance_base"]
    hit = (pairs["top"] == pairs["top_target"])[flipped]
    expected = {"effect": effect, "interchange": hit, "ends_target": pairs["ends_target"], "norm": pairs["norm"]}
    for name, values in expected.items():
        assert float(row[name]) == pytest.approx(values.mean(), abs=1e-6), name
    assert (int(row["n_pairs"]), int(row["n_flipped"])) == (len(effect), flipped.sum())
    assert int(row["n_programs"]) == len(np.unique(pairs["program"]))
    for depth, column in (("linear", 0), ("mlp2", 2)):
        (read,) = table(
            job,
            "edits_read",
            lm_seed=seed,
            step=LAST,
            semantics=semantics,
            depth=depth,
            **{key: value for key, value in where.items() if key != "control"},
        )
        assert float(read["target_here"]) == pytest.approx(pairs["target_here"][:, column].mean(), abs=1e-6)
        assert float(read["kept_last"]) == pytest.approx(pairs["kept_last"][:, column].mean(), abs=1e-6)


def test_pooled_rows_are_over_language_models(job, study):
    where = {"step": LAST, "semantics": "original", "feature": "facing", "edit": "learned_1", "source": "donor"}
    where |= {"control": "none", "layer": 1}
    each = [float(row["effect"]) for seed in (0, 1, 2) for row in table(job, "edits", lm_seed=seed, **where)]
    (row,) = table(job, "edits", lm_seed="pooled", **where)
    assert float(row["effect"]) == pytest.approx(np.mean(each), abs=1e-5)
    assert float(row["effect_low"]) < np.mean(each) < float(row["effect_high"])
    assert int(row["n_pairs"]) == 180
    truth = edit_effect(study, LAST, "original", "learned_1", "none", "donor")
    assert float(row["effect"]) == pytest.approx(truth, abs=0.03)


def test_where_the_model_does_the_same_there_is_no_effect(job):
    rows = table(job, "edits", step=0)
    assert rows and {row["effect"] for row in rows} == {""} and {row["n_apart"] for row in rows} == {"0"}
    assert all(row["ends_target"] for row in rows)


def test_semantics_are_compared_on_the_same_resamples(job, study):
    where = {"step": LAST, "feature": "facing", "edit": "learned_4", "source": "donor", "layer": 2}
    (row,) = table(job, "edits_compared", lm_seed="pooled", semantics="mirror", **where)
    own, other = (
        float(table(job, "edits", lm_seed="pooled", semantics=name, control="none", **where)[0]["effect"])
        for name in ("original", "mirror")
    )
    assert float(row["difference"]) == pytest.approx(own - other, abs=1e-5)
    assert float(row["difference_low"]) > 0 and float(row["p"]) < 0.05
    drawn = {row["semantics"] for row in table(job, "edits_compared", step=LAST)} - {"mirror"}
    assert len(drawn) == 2 and all(name.startswith("perm-") for name in drawn)
    assert not [row for row in table(job, "edits_compared", step=200) if row["semantics"] in drawn]


def test_streams_are_read_better_behind_later_blocks(job):
    rows = {
        (row["layer"], row["feature"]): float(row["accuracy"])
        for row in table(job, "streams", lm_seed="pooled", step=LAST, semantics="original", depth="linear")
    }
    assert rows["2", "facing"] > rows["1", "facing"] + 0.05
    features = {feature for _, feature in rows} - {"mean"}
    mean = np.mean([rows["1", feature] for feature in features])
    assert rows["1", "mean"] == pytest.approx(mean, abs=1e-5)


def test_the_summary_has_the_last_checkpoint(job):
    found = read_json(job.output("summary"))["edits"]
    assert {row["semantics"] for row in found} >= {"original", "mirror"}
    assert all({"effect", "effect_low", "effect_high", "n_apart"} <= set(row) for row in found)


@pytest.mark.parametrize("name", sorted(EDITS))
def test_every_number_has_interval_and_n(job, name):
    refuse_lonely_numbers(name, table(job, name))


def test_a_feature_without_pairs_has_a_row_that_says_so(job, tmp_path):
    """Drawn, and laid beside the paper's claims, as well."""
    inputs = job.inputs | {"edits": [tmp_path / f"{number}.arrow" for number in range(len(job.inputs["edits"]))]}
    for path, other in zip(inputs["edits"], job.inputs["edits"], strict=True):
        columns, about = read_table(other)
        kept = columns["feature"] != about["features"].index("wall_ahead")
        about["pairs"]["wall_ahead"] = [3, 0]
        write_table(path, {name: values[kept] for name, values in columns.items()}, about)
    outputs = {name: [tmp_path / path.name for path in paths] for name, paths in job.outputs.items()}
    other = Job(job.stage, job.slice, inputs, outputs)
    statistics.run(other)
    (row,) = table(other, "edits", lm_seed="pooled", step=LAST, semantics="original", feature="wall_ahead")
    assert (row["edit"], row["n_pairs"], row["n_programs"], row["effect"]) == ("none", "0", "0", "")
    assert table(other, "edits", lm_seed="pooled", step=LAST, feature="facing", edit="full")
    results = results_of(figures_job(other, tmp_path))
    figure, _ = figures.FIGURES["edits"](results)
    figure.draw_without_rendering()
    lines = [line for line in claims.edits(results) if "wall ahead" in line.what]
    assert len(lines) == 1 and "no pairs" in lines[0].what


def test_missing_edits_are_named(tmp_path, study):
    job = write_results(tmp_path, study)
    for name in ("counterfactuals", "edits", "readings"):
        job.inputs[name] = job.inputs[name][1:]
    with pytest.raises(UserError, match="^statistics: LM seed 0, step 0 lacks edits; give those of every checkpoint"):
        statistics.run(job)


def test_a_study_without_edits_has_empty_tables(tmp_path):
    job = write_results(tmp_path, small_study(lm=STUDY["lm"] | {"seeds": [0]}))
    statistics.run(job)
    for name in ("edits", "edits_compared", "edits_read", "streams"):
        assert table(job, name) == []

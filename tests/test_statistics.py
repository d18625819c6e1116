"""Statistics: pure functions against known answers, the stage against naive sums over its input files."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resamples import totals
from scipy.stats import linregress, norm
from sklearn.linear_model import LinearRegression
from synthetic import only, small_study, table, write_results

from progsem.errors import UserError
from progsem.languages.karel import codes, features, gallery
from progsem.languages.karel.execution import ProgramStates, WorldStates
from progsem.measures import (
    content,
    content_estimates,
    generation,
    intervals,
    labels,
    lines,
    phases,
    statistics,
)
from progsem.measures.resampling import resampling_weights
from progsem.measures.results import Settings, read_programs
from progsem.measures.tables import TABLES
from progsem.storage.files import read_table, write_table
from progsem.study.vocabulary import CONTROLS
from reference import tables as tables_page

ROOT = Path(__file__).resolve().parents[1]
ALTERNATIVES = {
    "mirror": {
        "turn_left": "turn_right",
        "turn_right": "turn_left",
        "pick_marker": "put_marker",
        "put_marker": "pick_marker",
    },
    "turned": {"move": "turn_left", "turn_left": "move"},
}
BABBLING = 400


@pytest.fixture(scope="module")
def study():
    return small_study(
        interventions={"alternatives": ALTERNATIVES, "difficulty_matched": "mirror", "offsets": [-1, 0]},
        controls={"kinds": CONTROLS},
        traces={"layers": "each"},
    )


@pytest.fixture(scope="module")
def job(study, tmp_path_factory):
    job = write_results(tmp_path_factory.mktemp("study"), study, babbling=BABBLING)
    statistics.run(job)
    return job


def summary(job):
    return json.loads(job.output("summary").read_text(encoding="utf-8"))


# ------------------------------------------------------------ pure functions


def test_holm_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.5, np.nan, 0.4]) == pytest.approx([0.8, np.nan, 0.8], nan_ok=True)
    assert intervals.holm(np.array([[0.02, 0.03], [0.9, 0.8]])) == pytest.approx(np.array([[0.04, 0.04], [1, 1]]))


def one_unit(*columns):
    """Values (1 + R, 1, columns) of as many programs that their number does not matter."""
    return intervals.estimate(np.stack(columns, axis=1)[:, None], 0.9, 10**9)


def test_intervals_of_one_unit_are_percentiles():
    defined = np.r_[0.5, np.linspace(0, 1, 101)]
    some, many, none = defined.copy(), defined.copy(), defined.copy()
    some[5:8] = np.nan
    many[5:60] = np.nan
    none[0] = np.nan
    low, high = one_unit(defined, some, many, none).interval()
    assert low[0] == pytest.approx(0.05) and high[0] == pytest.approx(0.95)
    assert high[1] == pytest.approx(np.quantile(np.delete(some[1:], slice(4, 7)), 0.95))
    assert np.isnan(low[2:]).all() and np.isnan(high[2:]).all()


def test_p_values_by_hand():
    """In units of the standard error on the side of 0, against the normal distribution; 2 / (R + 1) at least."""
    normal = norm.ppf(np.arange(1, 400) / 400)
    clear, some, none = (np.r_[shift, shift + normal] for shift in (100.0, -1.5, 0.0))
    undefined, constant = np.r_[np.nan, normal], np.zeros(400)
    p = one_unit(clear, some, none, undefined, constant).p_value()
    assert p == pytest.approx([2 / 400, 2 * norm.cdf(-1.5), 1, np.nan, 1], abs=8e-3, nan_ok=True)


def test_variances_of_a_layout_by_hand():
    """Programs that suit one probe better than the other, and a probe that is better: each lands in its place."""
    count = 400
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 1, (count, 1)), rng.normal(0, 0.5, (count, 2))
    scores = shared + own + np.array([0.0, 2.0])
    weights = resampling_weights(count, 4000, rng)
    estimate = intervals.estimate(weights.astype(float) @ scores / count, 0.95, count)
    over_programs = scores.mean(axis=1).var(ddof=1) / count
    crossed = (scores - scores.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).sum() / count / 2
    between = scores.mean(axis=0).var(ddof=1) / 2
    assert estimate.value == pytest.approx(scores.mean())
    assert estimate.programs == pytest.approx(over_programs, rel=0.06)
    assert estimate.crossed == pytest.approx(crossed, rel=0.06)
    assert estimate.units == pytest.approx(between, rel=1e-9) and estimate.unit_df == 1
    # The probes' difference dominates, with one degree of freedom.
    low, high = estimate.interval()
    assert (high - low) / 2 == pytest.approx(12.706 * (between + over_programs - crossed) ** 0.5, rel=0.02)
    assert estimate.p_value() > 0.05


def test_probes_borrow_their_variance_from_five_neighbours():
    base = intervals.estimate(np.zeros((11, 2)), 0.95, 100)
    by_step = {step: {"a": {"x": replace(base, units=np.float64(step))}} for step in (0, 10, 20, 30, 40, 50, 60)}
    by_step[20] = {"a": {"y": base}, "b": {"x": replace(base, units=np.float64(7))}}
    by_step[30]["a"]["x"] = replace(base, units=np.float64(np.nan))
    borrowed = intervals.borrow(by_step)
    found = {step: one["a"]["x"] for step, one in borrowed.items() if "x" in one["a"]}
    found = {step: (float(one.units), float(one.unit_df)) for step, one in found.items()}
    # Steps that have the column: 0, 10, 30, 40, 50, 60, that of 30 undefined.
    first, last = (100 / 4, 4), (160 / 4, 4)
    assert found == {0: first, 10: first, 30: first, 40: last, 50: last, 60: last}
    assert borrowed[20]["b"]["x"].units == 7 and borrowed[20]["b"]["x"].unit_df == 1


def test_regression_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    x = np.linspace(0, 1, 30)
    y = 0.3 + 0.5 * x + rng.normal(0, 0.1, 30)
    reference = LinearRegression().fit(x[:, None], y)
    line = lines.regress(x, y)
    assert line.slope == pytest.approx(reference.coef_[0])
    assert line.intercept == pytest.approx(reference.intercept_)
    assert line.r2 == pytest.approx(reference.score(x[:, None], y))
    # Residuals without memory: as many independent points as there are, and the textbook's errors.
    textbook = linregress(x, y)
    independent = lines.regress(x, y, independent=True)
    assert independent.n_effective == 30
    assert independent.slope_error == pytest.approx(textbook.stderr)
    assert independent.intercept_error == pytest.approx(textbook.intercept_stderr)


def test_regression_needs_three_different_points():
    assert np.isnan(lines.regress([0, 1], [0, 1]).r2)
    assert np.isnan(lines.regress([1, 1, 1], [0, 1, 2]).slope)


def test_r2_is_0_where_the_sign_of_the_correlation_is_open():
    assert lines.r2_interval(-0.5, 1.0) == (0.0, np.tanh(1.0) ** 2)
    assert lines.r2_interval(-1.0, -0.5) == (np.tanh(-0.5) ** 2, np.tanh(-1.0) ** 2)
    perfect = lines.regress([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    assert perfect.intervals(0.95)["r2"] == (pytest.approx(1), pytest.approx(1))
    assert lines.fisher_z(np.array([0.5, np.nan])) == pytest.approx([np.arctanh(0.5), np.nan], nan_ok=True)


def test_entropy_by_hand():
    assert labels.entropy_bits([4, 4, 4, 4]) == pytest.approx(2)
    assert labels.entropy_bits([3, 1]) == pytest.approx(0.811278, abs=1e-6)
    assert labels.entropy_bits([7]) == 0 and labels.entropy_bits([]) == 0


def test_rise_starts_where_the_curve_leaves_for_good():
    assert phases.rise([0, 0, 0.05, 0.5, 1, 0.9], 0.1, 0.1) == 3
    assert phases.rise([0.3, 0, 0.5, 1], 0.1, 0.1) == 2  # an early spike does not count
    assert np.isnan(phases.rise([0.2, 0.21, 0.22], 0.1, 0.1))
    assert np.isnan(phases.rise([1, 0.5, 0], 0.1, 0.1))
    assert np.isnan(phases.rise([0.4], 0.1, 0.1))
    several = phases.rise([[0.3, 0, 0.5, 1], [1, 0.5, 0, 0], [0, 1, 1, 0]], 0.1, 0.1)
    np.testing.assert_array_equal(several, [2, np.nan, 1])


def test_phases_leave_out_the_untrained_model_and_keep_their_order():
    steps = [0, 10, 20, 30, 40]
    entropy, accuracy = [9, 1, 5, 8, 8], [0, 0.2, 0.2, 0.2, 0.9]
    assert phases.find_phases(steps, entropy, accuracy) == {"syntax_start": 20, "semantics_start": 40}
    late = phases.find_phases(steps, [0, 1, 1, 1, 8], [0, 0.2, 0.5, 0.7, 0.9])
    assert late == {"syntax_start": 20, "semantics_start": 20}
    assert all(np.isnan(start) for start in phases.find_phases([0, 10], [0, 9], [0, 1]).values())
    both = phases.find_phases(steps, np.stack([entropy, [0] * 5]), np.stack([accuracy, accuracy]))
    np.testing.assert_array_equal(both["syntax_start"], [20, np.nan])
    np.testing.assert_array_equal(both["semantics_start"], [40, 40])


def test_phases_say_how_many_resamples_agree(study):
    """Two language models, of which one learns late: resamples that hold the late one alone disagree."""
    steps = [0, 10, 20, 30, 40]
    accuracy = np.array([[0, 0, 0.1, 0.8, 0.9], [0, 0, 0, 0, 0.9]]).T
    entropy = np.array([[9, 1, 8, 8, 8]] * 2).T
    curves = {
        step: {
            "entropy_bits": np.tile(entropy[index], (201, 1)),
            "generative_accuracy": np.tile(accuracy[index], (201, 1)),
        }
        for index, step in enumerate(steps)
    }
    found = phases.phases_of_curves(curves, SimpleNamespace(statistics=study.statistics))
    assert found["syntax_start"] == 20 and found["syntax_start_ci"] == [20, 20]
    assert found["syntax_start_agreement"] == 1
    assert found["semantics_start"] == 30 and found["semantics_start_ci"] == [20, 40]
    assert 0.4 < found["semantics_start_agreement"] < 0.8


def test_diversity_by_hand():
    """Entropy and share of distinct programs, and their pseudo-values against programs left out one by one."""
    programs = np.array([[1], [1], [1], [2], [2], [3]])
    found = generation.pseudo_values(programs)

    def entropy(values):
        return labels.entropy_bits(np.unique(values, return_counts=True)[1])

    statistics_of = {"distinct": lambda values: len(np.unique(values)) / len(values), "entropy_bits": entropy}
    for name, statistic in statistics_of.items():
        whole = statistic(programs)
        pseudo = np.array([6 * whole - 5 * statistic(np.delete(programs, index)) for index in range(6)])
        assert found[name].mean() == pytest.approx(whole)
        assert found[name] == pytest.approx(whole + pseudo - pseudo.mean())


# ------------------------------------------------------------------ the stage


def test_threads_change_no_byte(job, tmp_path):
    outputs = {name: [tmp_path / path.name for path in paths] for name, paths in job.outputs.items()}
    statistics.run(replace(job, outputs=outputs, threads=3))
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (job.output("summary").parent / path.name).read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == len(TABLES) + 3


def naive(job, step, semantics, source, depth, states, match=None, offset=0):
    """Semantic content straight from predictions.arrow: raw and corrected means, and the number of states."""
    folder = "offsets" if semantics == "original" and offset != 0 else semantics
    (path,) = [
        path for path in job.inputs["predictions"] if path.parent.name == folder and f"step-{step:06d}" in str(path)
    ]
    columns, about = read_table(path)
    raw, corrected = [], []
    keep = (columns["source"] == ("generated", "forced").index(source)) & (columns["offset"] == offset)
    if states == "non_final":
        keep &= ~columns["final"]
    for feature, shape in about["features"].items():
        rows = keep if match is None else keep & match[feature]
        label = columns[f"label_{feature}"][rows]
        answers = columns[f"predicted_{feature}"][rows].reshape(len(label), 3, about["seeds"], shape["heads"])
        right = [
            (answers[:, about["depths"].index(depth), seed] == label).all(axis=1).mean()
            for seed in range(about["seeds"])
        ]
        majority = columns[f"majority_{feature}"][rows].mean()
        raw.append(np.mean(right))
        corrected.append((raw[-1] - majority) / (1 - majority))
    return np.mean(raw), np.mean(corrected), keep.sum()


@pytest.mark.parametrize("source", ["generated", "forced"])
@pytest.mark.parametrize("states", ["all", "non_final"])
@pytest.mark.parametrize(("semantics", "depth"), [("original", "linear"), ("mirror", "mlp2")])
def test_semantic_content_is_what_the_files_say(job, source, states, semantics, depth):
    row = only(
        table(job, "probes"),
        step=800,
        semantics=semantics,
        source=source,
        states=states,
        depth=depth,
        feature="mean",
    )
    raw, corrected, count = naive(job, 800, semantics, source, depth, states)
    assert float(row["accuracy"]) == pytest.approx(raw, abs=1e-6)
    assert float(row["corrected"]) == pytest.approx(corrected, abs=1e-6)
    assert int(row["n_states"]) == count
    assert float(row["accuracy_low"]) < raw < float(row["accuracy_high"])
    assert float(row["corrected_low"]) < corrected < float(row["corrected_high"])


@pytest.mark.parametrize("offset", [-1, 0])
def test_differing_states_are_those_with_another_label(job, offset):
    files = {path.parent.name: path for path in job.inputs["predictions"] if "step-001200" in str(path)}
    original, alternative = (
        read_table(files[name])[0] for name in ("original" if offset == 0 else "offsets", "turned")
    )
    keep, other = original["offset"] == offset, alternative["offset"] == offset
    match = {}
    for feature in ("facing", "offset_from_start", "wall_ahead"):
        # Both files have the same states in the same order.
        unlike = (original[f"label_{feature}"][keep] != alternative[f"label_{feature}"][other]).any(axis=1)
        match[feature] = np.zeros(len(keep), bool)
        match[feature][np.flatnonzero(keep)[unlike]] = True
    raw, corrected, _ = naive(job, 1200, "original", "forced", "mlp1", "all", match, offset)
    where = {"step": 1200, "source": "forced", "depth": "mlp1", "feature": "mean", "alternative": "turned"}
    row = only(table(job, "alternatives"), states="differing", offset=offset, **where)
    assert float(row["raw_original"]) == pytest.approx(raw, abs=1e-6)
    assert float(row["original"]) == pytest.approx(corrected, abs=1e-6)
    assert float(row["share_differing"]) == 1
    row = only(table(job, "alternatives"), states="all", offset=offset, **where)
    raw, corrected, count = naive(job, 1200, "turned", "forced", "mlp1", "all", offset=offset)
    assert float(row["raw_alternative"]) == pytest.approx(raw, abs=1e-6)
    assert float(row["alternative_content"]) == pytest.approx(corrected, abs=1e-6)
    assert int(row["n_states"]) == count


def test_alternatives_are_paired_and_harder_at_the_end(job):
    rows = [row for row in table(job, "alternatives") if row["feature"] == "mean" and row["step"] == "1200"]
    assert {row["states"] for row in rows} == {"all", "non_final", "differing"}
    assert {row["n_features"] for row in rows} == {"3"}
    for row in rows:
        difference = float(row["original"]) - float(row["alternative_content"])
        assert float(row["difference"]) == pytest.approx(difference, abs=2e-6)
        assert float(row["raw_difference"]) == pytest.approx(
            float(row["raw_original"]) - float(row["raw_alternative"]), abs=2e-6
        )
        assert float(row["ci_low"]) <= difference <= float(row["ci_high"])
        assert float(row["p"]) <= float(row["p_holm"]) <= min(1, 2 * float(row["p"])) + 1e-6
    deepest = [row for row in rows if (row["depth"], row["states"], row["offset"]) == ("mlp2", "all", "0")]
    assert all(float(row["ci_low"]) > 0 and float(row["p_holm"]) < 0.05 for row in deepest)
    assert {row["alternative"] for row in rows if row["difficulty_matched"] == "True"} == {"mirror"}


def test_equal_predictions_differ_by_exactly_nothing(study, tmp_path):
    one = small_study(
        lm={"steps": 200, "checkpoint_every": 200},
        interventions={"alternatives": {"mirror": ALTERNATIVES["mirror"]}, "difficulty_matched": "mirror"},
    )
    job = write_results(tmp_path, one)
    for path in job.inputs["predictions"]:
        if path.parent.name == "mirror":
            columns, about = read_table(path.parent.parent / "original" / "predictions.arrow")
            write_table(path, columns, about | {"semantics": ["mirror"]})
    statistics.run(job)
    rows = table(job, "alternatives")
    assert {row["states"] for row in rows} == {"all", "non_final"}  # no state's label differs
    assert {float(row[key]) for row in rows for key in ("difference", "ci_low", "ci_high", "raw_ci_high")} == {0.0}
    assert {float(row["p_holm"]) for row in rows} == {1.0}


def test_generation_is_counted_on_test_specifications(job):
    for path in job.inputs["programs"][::3]:
        columns, about = read_table(path)
        test = columns["split"] == 2
        row = only(table(job, "checkpoints"), step=about["step"])
        lengths = (columns["generated"][test] < 5).sum(axis=1)
        correct = columns["correct_shown"][test]
        assert float(row["generative_accuracy"]) == pytest.approx(correct.mean(), abs=1e-6)
        assert float(row["strict_accuracy"]) == pytest.approx(columns["correct_all"][test].mean(), abs=1e-6)
        assert float(row["mean_length_generated"]) == pytest.approx(lengths.mean(), abs=1e-6)
        assert float(row["mean_length_generated_correct"]) == pytest.approx(lengths[correct].mean(), abs=1e-6)
        distinct = len({tuple(program) for program in columns["generated"][test].tolist()})
        assert float(row["distinct"]) == pytest.approx(distinct / test.sum())
        nats = columns["reference_log_likelihood"][test].astype(float).sum() / columns["reference_tokens"][test].sum()
        assert float(row["perplexity_reference"]) == pytest.approx(np.exp(-nats), abs=1e-5)
        assert int(row["programs"]) == 32 * about["step"]


def test_lengths_of_correct_programs_are_compared(job):
    trained = np.concatenate([(read_table(path)[0]["program"] < 5).sum(axis=1) for path in job.inputs["corpus"]])
    columns, about = read_table(job.inputs["programs"][-1])
    solved = (columns["split"] == 2) & columns["correct_shown"]
    lengths, wanted = ((columns[name][solved] < 5).sum(axis=1) for name in ("generated", "reference"))
    found = summary(job)["length_tests"]
    for comparison, against in (
        ("correct_vs_training", trained.mean()),
        ("correct_vs_their_references", wanted.mean()),
    ):
        row = only(table(job, "length_tests"), step=about["step"], comparison=comparison)
        assert float(row["difference"]) == pytest.approx(lengths.mean() - against, abs=1e-6)
        assert int(row["n"]) == solved.sum()
        assert found[comparison]["p"] == pytest.approx(float(row["p"]), abs=1e-6)
    # Generated programs that are right are the references themselves here: not one statement more or less.
    assert found["correct_vs_their_references"]["difference_low"] == 0
    assert found["correct_vs_their_references"]["p"] == 1


def test_training_metrics_are_added_up_over_intervals(job):
    rows = table(job, "training")
    assert [int(row["step"]) for row in rows] == list(range(50, 1201, 50))
    assert [int(row["tokens"]) for row in rows] == [70 * 32 * step for step in range(50, 1201, 50)]


def test_babbling_checkpoints_are_left_out_not_invented(job):
    value = summary(job)
    early = [row for row in value["checkpoints"] if row["step"] < BABBLING]
    assert [row["semantic_content"] for row in early] == [{"linear": None, "mlp1": None, "mlp2": None}] * 2
    assert all(row["generative_accuracy"] is not None for row in early)
    assert value["n"]["checkpoints"] == 7 and value["n"]["checkpoints_probed"] == 5
    generated = {row["step"] for row in table(job, "probes") if row["source"] == "generated"}
    assert generated == {"400", "600", "800", "1000", "1200"}
    assert value["r2"]["mlp2"]["n_points"] == 5 and value["r2"]["mlp2"]["r2"] > 0.9
    assert only(
        table(job, "regression"), source="forced", states="all", depth="mlp2", measure="raw", points="differences"
    )["n_points"] == str(5)


def test_summary_keeps_its_contract(job):
    value = summary(job)
    assert set(value) >= {
        "study",
        "generative_accuracy",
        "semantic_content",
        "r2",
        "alternatives",
        "checkpoints",
        "mean_length",
        "wall_seconds",
    }
    assert list(value["semantic_content"]) == ["linear", "mlp1", "mlp2"]
    assert all(isinstance(share, float) for share in value["semantic_content"].values())
    assert {"r2", "ci_low", "ci_high"} <= set(value["r2"]["linear"])
    assert set(value["alternatives"]) == {"mirror", "turned"}
    keys = {"original", "alternative", "difference", "ci_low", "ci_high", "p_holm"}
    keys |= {"raw_original", "raw_alternative", "difficulty_matched"}
    for row in value["alternatives"].values():
        assert keys <= set(row)
    assert value["alternatives"]["mirror"]["difficulty_matched"] is True
    raw, corrected, _ = naive(job, 1200, "original", "generated", "mlp2", "all")
    assert value["semantic_content"]["mlp2"] == pytest.approx(raw, abs=1e-6)
    assert value["alternatives"]["mirror"]["original"] == pytest.approx(corrected, abs=1e-6)
    assert value["wall_seconds"] == {"traces": 17.5, "train": 70.0}
    assert value["phases"]["syntax_start"] == 400
    assert {"generated_correct", "training"} <= set(value["mean_length"])


def test_training_lengths(job):
    lengths = np.concatenate([(read_table(path)[0]["program"] < 5).sum(axis=1) for path in job.inputs["corpus"]])
    assert summary(job)["mean_length"]["training"] == pytest.approx(lengths.mean(), abs=1e-6)
    counted = {int(r["statements"]): int(r["count"]) for r in table(job, "lengths") if r["programs"] == "training"}
    assert counted == {length: (lengths == length).sum() for length in range(2, 7)}


def test_the_same_inputs_give_the_same_bytes(job):
    before = {name: job.output(name).read_bytes() for name in job.outputs if name != "manifest"}
    statistics.run(job)
    assert before == {name: job.output(name).read_bytes() for name in before}


def test_models_are_pooled_where_all_of_them_have_states(tmp_path):
    several = small_study(
        lm={"steps": 600, "checkpoint_every": 200, "seeds": [3, 5]},
        interventions={"alternatives": {"mirror": ALTERNATIVES["mirror"]}, "difficulty_matched": "mirror"},
    )
    job = write_results(tmp_path, several)
    # LM seed 5 writes too little to be probed at step 200.
    silent = write_results(tmp_path / "silent", several, babbling=1000)
    for name in ("programs", "predictions"):
        job.inputs[name] = [
            silent.inputs[name][index] if "seed-5/step-000200" in str(path) else path
            for index, path in enumerate(job.inputs[name])
        ]
    statistics.run(job)
    rows = [
        row
        for row in table(job, "probes")
        if (row["semantics"], row["source"], row["states"], row["depth"], row["feature"])
        == ("original", "generated", "all", "mlp1", "mean")
    ]
    assert [(row["step"], row["lm_seed"]) for row in rows if row["step"] == "200"] == [("200", "3")]
    final = {row["lm_seed"]: row for row in rows if row["step"] == "600"}
    assert set(final) == {"3", "5", "pooled"}
    mean = (float(final["3"]["accuracy"]) + float(final["5"]["accuracy"])) / 2
    assert float(final["pooled"]["accuracy"]) == pytest.approx(mean, abs=2e-6)
    value = summary(job)
    assert value["semantic_content"]["mlp1"] == pytest.approx(mean, abs=2e-6)
    assert value["r2"]["mlp1"]["n_points"] == 5  # three trained checkpoints, two models, one silent
    assert len(value["checkpoints"]) == 4 and set(value["phases"]["by_seed"]) == {"3", "5"}


def test_lines_of_several_language_models(tmp_path):
    """Pooled: means over language models; between: a point each, at the last checkpoint."""
    three = small_study(
        lm={"steps": 1000, "checkpoint_every": 200, "seeds": [3, 5, 8]},
        interventions={"alternatives": {"mirror": ALTERNATIVES["mirror"]}, "difficulty_matched": "mirror"},
        controls={"kinds": []},
    )
    job = write_results(tmp_path, three)
    statistics.run(job)
    where = {"source": "forced", "states": "all", "depth": "mlp1", "measure": "corrected"}
    rows = [row for row in table(job, "regression") if row.items() >= where.items()]
    each = [only(rows, lm_seed=seed, points="levels") for seed in (3, 5, 8)]
    pooled, between = (only(rows, lm_seed="pooled", points=points) for points in ("levels", "between"))
    assert float(pooled["slope"]) == pytest.approx(np.mean([float(row["slope"]) for row in each]), abs=1e-6)
    z = [np.arctanh(float(row["r2"]) ** 0.5) for row in each]
    assert float(pooled["r2"]) == pytest.approx(np.tanh(np.mean(z)) ** 2, abs=1e-5)
    assert (pooled["n_points"], pooled["n_lm_seeds"], between["n_points"]) == ("15", "3", "3")
    probed = [
        only(
            table(job, "probes"),
            **{key: where[key] for key in ("source", "states", "depth")},
            **{"lm_seed": seed, "step": 1000, "semantics": "original", "feature": "mean"},
        )
        for seed in (3, 5, 8)
    ]
    accuracies = [only(table(job, "checkpoints"), lm_seed=seed, step=1000) for seed in (3, 5, 8)]
    x = [float(row["generative_accuracy"]) for row in accuracies]
    line = linregress(x, [float(row["corrected"]) for row in probed])
    assert float(between["slope"]) == pytest.approx(line.slope, rel=1e-3)
    assert float(between["r2"]) == pytest.approx(line.rvalue**2, abs=1e-3)
    # Student's t with 2 degrees of freedom from the spread of the three.
    final = only(table(job, "checkpoints"), lm_seed="pooled", step=1000)
    spread = np.std(x, ddof=1) / 3**0.5
    width = float(final["generative_accuracy_high"]) - float(final["generative_accuracy_low"])
    assert 2 * 1.96 * spread < width
    assert int(final["n_correct"]) == sum(int(row["n_correct"]) for row in accuracies)
    assert lonely(summary(job)) == []


def test_without_last_states_the_headline_says_so(tmp_path):
    dropped = small_study(
        lm={"steps": 200, "checkpoint_every": 200},
        probes={"drop_final": True, "sources": ["forced"]},
        interventions={"alternatives": {}},
    )
    job = write_results(tmp_path, dropped)
    statistics.run(job)
    value = summary(job)
    assert value["sources"]["states"] == "non_final" and value["sources"]["headline"] == "forced"
    assert {row["states"] for row in table(job, "probes")} == {"non_final"}
    assert value["alternatives"] == {} and table(job, "alternatives") == []
    assert value["r2"]["mlp2"]["r2"] is None and value["r2"]["mlp2"]["n_points"] == 1


def test_a_final_checkpoint_that_babbles_gives_nulls(tmp_path):
    silent = small_study(
        lm={"steps": 200, "checkpoint_every": 200},
        interventions={"alternatives": {"mirror": ALTERNATIVES["mirror"]}, "difficulty_matched": "mirror"},
    )
    job = write_results(tmp_path, silent, babbling=1000)
    statistics.run(job)
    value = summary(job)
    assert value["semantic_content"] == {"linear": None, "mlp1": None, "mlp2": None}
    assert value["alternatives"]["mirror"]["difference"] is None
    assert value["alternatives"]["mirror"]["difficulty_matched"] is True
    assert json.loads(job.output("gallery").read_text(encoding="utf-8"))["entries"] == []
    assert any(row["source"] == "forced" for row in value["semantic_content_by"])


def test_missing_predictions_are_named(job):
    names = ("predictions", "accuracy")
    fewer = {name: [path for path in job.inputs[name] if path.parent.name != "turned"] for name in names}
    broken = statistics_job(job, fewer)
    with pytest.raises(UserError, match="LM seed 0, step 0 lacks predictions under turned"):
        statistics.run(broken)


def test_another_number_of_test_programs_is_refused(job):
    path = job.inputs["programs"][0]
    with pytest.raises(UserError, match="400 test programs, expected 7"):
        read_programs(path, 7)


def statistics_job(job, inputs):
    return type(job)(job.stage, job.slice, {**job.inputs, **inputs}, job.outputs)


# ------------------------------------------------------------------- gallery


def run_slowly(program, cells, pose):
    """Poses after each statement of a straight-line program, the obvious way."""
    row, column, heading = (int(value) for value in pose)
    poses = []
    for code in program[program < 5]:
        if code == codes.LEFT:
            heading = (heading - 1) % 4
        elif code == codes.RIGHT:
            heading = (heading + 1) % 4
        elif code == codes.MOVE:
            ahead = row + (-1, 0, 1, 0)[heading], column + (0, 1, 0, -1)[heading]
            if 0 <= ahead[0] < cells.shape[0] and 0 <= ahead[1] < cells.shape[1] and cells[ahead] != codes.WALL:
                row, column = ahead
        poses.append((row, column, heading))
    return poses


def test_gallery_shows_true_robots_and_readings(job):
    shown = json.loads(job.output("gallery").read_text(encoding="utf-8"))
    columns, _ = read_table(job.inputs["programs"][-1])
    files = {path.parent.name: path for path in job.inputs["predictions"] if "step-001200" in str(path)}
    answers, about = read_table(files["original"])
    assert len(shown["entries"]) == 4
    assert [entry["correct"] for entry in shown["entries"]] == [True, True, True, False]
    assert shown["semantics"] == list(shown["read_right"]) == ["original", "mirror"]
    assert len({entry["program"] for entry in shown["entries"]}) == 4
    test_rows = np.flatnonzero(columns["split"] == 2)
    for entry in shown["entries"]:
        row = test_rows[columns["row"][test_rows] == entry["specification"]][0]
        assert len(entry["statements"]) >= 3
        poses = run_slowly(columns["generated"][row], np.array(entry["cells"]), columns["poses"][row])
        true = [
            (state["true"]["row"], state["true"]["column"], state["true"]["heading"]) for state in entry["statements"]
        ]
        assert true == poses
        for number, state in enumerate(entry["statements"]):
            (at,) = np.flatnonzero(
                (answers["program"] == row)
                & (answers["statement"] == number)
                & (answers["source"] == 0)
                & (answers["offset"] == 0)
            )
            facing = answers["predicted_facing"][at].reshape(3, about["seeds"], 1)[2, 0, 0]
            assert state["read"]["heading"] == facing
            right = (
                (answers["predicted_offset_from_start"][at].reshape(3, about["seeds"], 2)[2, 0])
                == answers["label_offset_from_start"][at]
            )
            assert state["position_right"] == bool(right.all())
        turned = {"turn_left()": -1, "turn_right()": 1}
        headings = [entry["start"]["heading"], *(state["true"]["heading"] for state in entry["matched"])]
        for before, after, state in zip(headings, headings[1:], entry["matched"], strict=False):
            assert (after - before) % 4 == -turned.get(state["text"], 0) % 4
    assert shown["entries"][0]["program"].startswith("def run() { ")
    assert shown["entries"][0]["program"].endswith(" }")


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_positions_are_read_back_from_offsets(height, width, data):
    start, pose = (
        np.array([data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1)), 0], np.uint8)
        for _ in range(2)
    )
    cells = np.zeros((1, height, width), np.uint8)
    nothing = np.zeros(1, np.uint8)
    state = ProgramStates(cells, start[None], start[None], pose[None], nothing, nothing)
    label = features.labels(("offset_from_start",), state)[0]
    assert gallery.position_from_offset(label, WorldStates(cells[0], start)) == (pose[0], pose[1])


def test_stages_do_not_import_torch():
    code = "import sys, progsem.measures.statistics, progsem.plots.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_disagreeing_probe_seeds_widen_the_interval():
    """Two probes with the same mean accuracy: one pair agrees on it, the other does not."""
    rng = np.random.default_rng(1)
    weights = resampling_weights(500, 1000, rng)
    widths = []
    for shares in ((0.6, 0.6), (0.5, 0.7)):
        right = np.stack([np.arange(500) % 10 < 10 * share for share in shares], axis=1).astype(float)
        sums = np.concatenate([np.ones((500, 1)), np.zeros((500, 1)), right], axis=1)[:, None, :]
        measured = content.content_of(totals(weights, sums), np.array([500]), 2)
        estimate = intervals.estimate(measured.accuracy[:, :, 0, 0], 0.95, 500)
        assert estimate.value == pytest.approx(0.6)
        low, high = estimate.interval()
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_intervals_end_where_the_numbers_do(job):
    """Of two probes that disagree, corrected accuracy is never above 1; lengths are not below 0, shares in between."""
    settings = Settings.of(job)
    weights = resampling_weights(500, 200, np.random.default_rng(1))
    right = np.stack([np.arange(500) % 10 < share for share in (10, 8)], axis=1).astype(float)
    right = np.tile(right, len(settings.probes.depths))
    sums = np.concatenate([np.ones((500, 1)), (np.arange(500) % 2)[:, None], right], axis=1)[:, None, :]
    measured = content.content_of(totals(weights, sums), np.array([500]), 2)
    found = content_estimates.estimates_of(measured, settings)
    for name, least in (("accuracy", 0.9), ("corrected", 0.8)):
        low, high = found[name].interval()
        assert found[name].value == pytest.approx(least) and (high == 1).all() and (low < 0.5).all()
    length = np.tile([[1.0, 9.0]], (201, 1))  # of two language models
    estimates = generation.generation_estimates({"mean_length_generated": generation.Sampled(length, 12)}, settings)
    assert estimates["mean_length_generated"].interval()[0] == 0


# --------------------------------------------- every number has its interval


# Floats without an interval, because nothing is sampled: settings, distances and degrees of freedom, tests, spreads,
# and what describes the very states at hand.
EXACT = {
    "mean_length_training": "of all training programs",
    "training": "of all training programs",
    "p": "a test",
    "p_holm": "a test",
    "value": "of the config",
    "probe_seed_sd": "a spread itself",
    **{f"entropy_{side}": "of the states at hand" for side in ("original", "alternative", "first", "second")},
    "share_differing": "of the states at hand",
    "n_effective": "a number of points",
    "loss": "of the tokens since the row before",
    "learning_rate": "a setting",
    "gradient_norm": "of one step",
    "confidence": "a setting",
    "wall_seconds": "a measurement of the machine",
    "seconds_per_solution": "likewise",
    "syntax_start_agreement": "of resamples",
    "semantics_start_agreement": "of resamples",
}


def ends_of(name, names):
    """The two columns of the interval of a column, by their names."""
    for low, high in ((f"{name}_low", f"{name}_high"), *ENDS.get(name, ())):
        if low in names and high in names:
            return low, high
    return None


ENDS = {
    "difference": [("ci_low", "ci_high")],
    "raw_difference": [("raw_ci_low", "raw_ci_high")],
    "r2": [("ci_low", "ci_high")],
}


def is_end(name):
    return name.endswith(("_low", "_high", "_ci"))


def lonely(value, inherited=False):
    """Names of the floats in a mapping, or in those below it, that have no interval or no n beside them."""
    found = []
    counted = inherited or any(key == "n" or key.startswith("n_") or key.endswith("_n") for key in value)
    for key, item in value.items():
        if key in EXACT or is_end(key):
            continue
        if isinstance(item, dict):
            if f"{key}_ci" in value:
                assert value[f"{key}_ci"].keys() == item.keys() == value[f"{key}_n"].keys()
                assert all(in_order(value[f"{key}_ci"][name], item[name]) for name in item if name not in EXACT)
            else:
                found += lonely(item, inherited=key == "phases")
        elif isinstance(item, list):
            found += [name for one in item if isinstance(one, dict) for name in lonely(one)]
        elif isinstance(item, float):
            if f"{key}_ci" in value:
                bounds = value[f"{key}_ci"]
            else:
                names = ends_of(key, value)
                bounds = names and [value[name] for name in names]
            if not counted or not bounds or not in_order(bounds, item):
                found.append(key)
    return found


def in_order(bounds, value):
    """Whether an interval is there and holds its estimate."""
    if value is None or value == "":
        return True
    low, high = (float(bound) for bound in bounds)
    return low - 2e-6 <= float(value) <= high + 2e-6


def test_every_number_in_the_summary_has_interval_and_n(job):
    value = summary(job)
    assert "test_programs" in value["n"]
    assert lonely(value) == []
    assert lonely({"accuracy": 0.5, "n_states": 3}) == ["accuracy"]  # it does find them
    assert lonely({"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}) == ["accuracy"]


# Of a study with edits, in test_edit_tables.py.
EDITS = {"edits", "edits_compared", "edits_read", "streams"}
WRITERS = {"synthesis", "writers"}  # in test_synthesis.py
OVER_MODELS = {"milestones", "transcoders", "transcoder_properties"}  # in test_warmup.py and test_transcoders.py


@pytest.mark.parametrize("name", sorted(set(TABLES) - EDITS - WRITERS - OVER_MODELS))
def test_every_number_in_a_table_has_interval_and_n(job, name):
    refuse_lonely_numbers(name, table(job, name))


def refuse_lonely_numbers(name, rows):
    """Every number has an interval that holds it, and an n in its row."""
    assert rows
    for row in rows:
        numbers = [key for key, text in row.items() if "." in text and key not in EXACT and not is_end(key)]
        for key in numbers:
            names = ends_of(key, row)
            assert names, f"{name}.{key} has no interval"
            assert all(row[end] != "" for end in names), f"{name}: {row}"
            assert in_order([row[end] for end in names], row[key]), f"{name}.{key}: {row}"
        if numbers:
            assert any(column == "n" or column.startswith("n_") for column in row)


def test_the_page_on_tables_is_in_step(monkeypatch):
    """Every column of every table is described once, and nothing that is none."""
    page = (ROOT / tables_page.PAGE).read_text(encoding="utf-8")
    assert page == tables_page.page_text(), "run `make schema`"
    for name, one in TABLES.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert all(f"`{column}`" in section for column in one.columns)
    for columns, wrong in ((("lm_seed", "count", "x"), "programs, statements, x"), ((), "count, programs, statements")):
        monkeypatch.setitem(TABLES, "lengths", TABLES["lengths"]._replace(columns=columns))
        with pytest.raises(ValueError, match=f"table lengths: either no column or not described: {wrong}$"):
            tables_page.page_text()

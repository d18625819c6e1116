"""`progsem power`: planted numbers whose answers are known, and a synthetic study of three language models."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from synthetic import small_study, write_results

from progsem.errors import UserError
from progsem.housekeeping import common, power
from progsem.measures import statistics
from progsem.storage.inventory import Unit

SECTIONS = {"lm": {"seeds": [0, 1, 2], "checkpoint_every": 400}, "controls": {"kinds": ["counts"]}}


def study_file(folder: Path, **sections) -> Path:
    path = folder / "synthetic.yaml"
    path.write_text(yaml.safe_dump(small_study(**sections).model_dump(mode="json")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """A folder with a study that has run, `synthetic.yaml`, as far as its statistics."""
    folder = tmp_path_factory.mktemp("power")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        job = write_results(folder / "made", small_study(**SECTIONS))
        statistics.run(job)
        statistics_folder = Path(common.study(study_file(folder, **SECTIONS)).plan.statistics.folder)
        shutil.copytree(job.output("summary").parent, statistics_folder)
        (statistics_folder / "manifest.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("mean", "sd", "models"),
    [
        (1.0, 1.0, 7),  # t(6) / √7 = 2.447 / 2.646 = 0.92; t(5) / √6 = 1.05
        (-1.0, 1.0, 7),
        (1.0, 0.1, 2),  # 12.71 / √2 × 0.1 = 0.899
        (1.0, 0.12, 3),  # 1.08; t(2) / √3 × 0.12 = 0.298
        (0.2, 1.0, 99),  # 1.9845 / √99 = 0.19945; 1.9847 / √98 = 0.20049
        (0.19, 1.0, None),
        (0.0, 1.0, None),
        (1.0, 0.0, 2),
    ],
)
def test_so_many_models_are_needed(mean, sd, models):
    assert power.needed(mean, sd) == models


def test_fewer_are_needed_for_less_confidence():
    assert power.needed(1.0, 1.0, confidence=0.8) == 4  # t(3) of 0.9 / √4 = 0.82; t(2) / √3 = 1.09


@pytest.mark.parametrize(("mean", "sd"), [(1.0, 1.0), (1.0, 2.0)])
def test_power_is_the_share_of_simulated_studies(mean, sd):
    rng, models = np.random.default_rng(0), power.needed_for_power(mean, sd)
    shares = []
    for count in (models - 1, models):
        studies = rng.normal(mean, sd, (40_000, count))
        wide = power.half_width(studies.std(axis=1, ddof=1), count, 0.95)
        shares.append((np.abs(studies.mean(axis=1)) > wide).mean())
    assert shares[0] < power.POWER + 0.01 and shares[1] > power.POWER - 0.01 and shares[0] < shares[1]
    assert power.needed(mean, sd) < models


def test_no_number_of_models_finds_what_is_not_there():
    assert power.needed_for_power(0.0, 1.0) is None and power.needed_for_power(5.0, 0.0) == 2


def test_the_part_within_models_is_taken_off():
    values = np.array([0.1, 0.2, 0.3])  # sd 0.1
    claim = power.Claim("", "points", values, np.array([0.06, 0.06, 0.06]))
    assert claim.spread() == pytest.approx((0.2, 0.1, 0.06, 0.08))
    assert power.Claim("", "points", values, np.full(3, 0.2)).spread()[3] == 0
    both = claim.less(power.Claim("", "points", np.array([0.1, 0.1, 0.1]), np.full(3, 0.08)))
    assert both.spread() == pytest.approx((0.1, 0.1, 0.1, 0.0), abs=1e-9)


def test_claims_are_the_means_of_the_pooled_rows(ran, monkeypatch):
    monkeypatch.chdir(ran)
    results = power.read(common.study(Path("synthetic.yaml")))
    found = {claim.what: claim for claim in power.claims(results)}
    last = {"lm_seed": "pooled", "step": results.summary["step"]}
    at = {"source": "forced", "depth": "mlp2", "feature": "mean"}

    def same(what, table, key, sign=1, **where):
        (row,) = results.rows(table, **where)
        assert sign * row[key] == pytest.approx(found[what].spread()[0], abs=2e-6)

    (first, *_, final) = results.rows("checkpoints", lm_seed="pooled")
    rise = final["generative_accuracy"] - first["generative_accuracy"]
    assert found["generative accuracy, last less first checkpoint"].spread()[0] == pytest.approx(rise, abs=2e-6)
    for states in ("all", "non_final"):
        what, where = f"original less mirror image, forced, mlp2, {states}", last | at | {"states": states, "offset": 0}
        same(what, "alternatives", "difference", **where, alternative="alt-0", family="named")
    what, where = "content at offset -1 above the majority, forced, mlp2", last | at | {"states": results.states}
    same(what, "offsets", "corrected", **where, offset=-1)
    (before,) = results.rows("offsets", **where | {"step": 0}, offset=-1)
    gain = found[what].spread()[0] - before["corrected"]
    what = "content at offset -1 above the untrained model, forced, mlp2"
    assert found[what].spread()[0] == pytest.approx(gain, abs=2e-6)
    what, where = "content over accuracy, slope, forced, mlp2", {"source": "forced", "depth": "mlp2"}
    same(what, "regression", "slope", lm_seed="pooled", points="levels", measure="raw", states=results.states, **where)
    same("right programs less training's", "length_tests", "difference", **last, comparison="correct_vs_training")
    assert len([what for what in found if "untrained model, forced" in what and "offset" not in what]) == 3
    assert np.isnan(found["content over accuracy, slope, forced, mlp2"].spread()[2])


def test_standard_errors_are_those_of_the_intervals(ran, monkeypatch):
    monkeypatch.chdir(ran)
    results = power.read(common.study(Path("synthetic.yaml")))
    (claim,) = [one for one in power.claims(results) if one.what.startswith("right programs")]
    rows = results.rows("length_tests", step=results.summary["step"], comparison="correct_vs_training")
    wide = [row["difference_high"] - row["difference_low"] for row in rows if row["lm_seed"] != "pooled"]
    assert 2 * 1.959964 * claim.errors == pytest.approx(wide, abs=1e-5)


def test_the_command_prints_claims_and_costs(ran, monkeypatch, capsys):
    monkeypatch.chdir(ran)
    monkeypatch.setattr(Unit, "manifest", lambda unit: {"seconds": 30.0, "threads": 2})
    power.main(["synthetic.yaml"])
    said = capsys.readouterr().out
    accuracy = next(line for line in said.splitlines() if line.startswith("generative accuracy"))
    assert float(accuracy.split("points")[1].split()[0]) > 50
    assert "language models (95% intervals)" in said
    costs = {line.split()[0]: line.split()[1:] for line in said.split("core-minutes")[1].splitlines()[1:]}
    assert costs["lm"] == ["4.0", "12.0"] and costs["corpus"] == ["0.0", "1.0"]  # four checkpoints of three models
    assert float(costs["total"][1]) == sum(float(both[1]) for stage, both in costs.items() if stage != "total")


def test_a_study_that_has_not_run_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study_file(tmp_path, **SECTIONS)
    with pytest.raises(UserError, match=r"synthetic: there is no \S+; `make figures STUDY=synthetic.yaml` makes it$"):
        power.main(["synthetic.yaml"])


def test_too_few_language_models_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study_file(tmp_path, lm={"seeds": [0, 1]})
    with pytest.raises(UserError, match="lm.seeds give 2 language models, expected at least 3"):
        power.main(["synthetic.yaml"])

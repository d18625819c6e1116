"""The interface from Python: what it returns is what the stages wrote, and what is not there is one line."""

import inspect
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tree import ROOT, Tree

import progsem
from progsem.languages import LANGUAGE
from progsem.languages.karel.world import World as KarelWorld
from progsem.measures.tables import TABLES, described
from progsem.storage.files import read_csv, read_metadata, read_table, write_table

SIGNATURES = ROOT / "tests" / "data" / "interface.txt"
FORWARDS = "def run() { move() }"
LEFT = "def run() { turn_left() }"
LONG = f"def run() {{ {'; '.join(['move()'] * 9)} }}"


@pytest.fixture(scope="module")
def study(finished):
    yield progsem.open_study(finished / "studies" / "tiny.yaml")
    LANGUAGE.use("karel")


@pytest.fixture(scope="module")
def last(study):
    return study.checkpoint()


def files(finished, pattern):
    (found,) = (path for path in finished.glob(f"results/{pattern}"))
    return found


def written_for(last, index=0):
    """A test specification that has been traced: its row in `Checkpoint.programs`, and its examples."""
    row = last.programs("test").iloc[index]
    return row, [(row["input_1"], row["output_1"])]


# What has been made.


def test_a_study_says_what_it_has(study):
    assert study.name == "tiny" and study.features == ("facing", "offset_from_start", "wall_ahead")
    assert list(study.checkpoints) == [(0, 0), (0, 10), (0, 20)]
    assert study.checkpoint().step == 20 and study.checkpoint(step=10).step == 10
    made = study.made()
    assert (made.jobs == made.made).all() and made.loc["traces", "jobs"] == 3
    assert "traces 3 of 3" in repr(study) and "snakemake" not in repr(study)
    assert list(study.semantics)[:3] == ["original", "mirror", "shift"] and study.semantics["original"] == {}
    assert study.config["lm"]["layers"] == 2


def test_a_study_is_found_by_name_and_from_any_folder(tmp_path, monkeypatch, finished):
    monkeypatch.chdir(tmp_path)
    there = progsem.open_study(finished / "studies" / "tiny.yaml")
    assert there.folder == finished and (there.made().made > 0).all()
    assert progsem.open_study("tiny").file == ROOT / "studies" / "tiny.yaml"
    assert progsem.open_study().file == ROOT / "config.yaml"


def test_what_has_not_been_made_is_said_with_the_command_that_makes_it(finished):
    other = progsem.open_study(finished / "studies" / "tiny.yaml", config={"lm": {"width": 16, "rotary": 4}})
    file = finished / "studies" / "tiny.yaml"
    assert (
        other.command == f'snakemake results/figures --configfile {file} --config \'lm={{"width": 16, "rotary": 4}}\''
    )
    assert "lm 0 of 3" in repr(other) and other.command in repr(other) and "corpus 1 of 1" in repr(other)
    for ask in (other.checkpoint().states, other.checkpoint().model, lambda: other.table("probes")):
        with pytest.raises(progsem.UserError, match=re.escape(other.command)) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_what_earlier_code_has_made_can_be_kept(finished, tmp_path):
    root = tmp_path / "earlier"
    shutil.copytree(finished, root, symlinks=True)
    (made,) = root.glob("results/traces/*")
    made.rename(f"{str(made)[:-8]}00000000")
    study = progsem.open_study(root / "studies" / "tiny.yaml")
    with pytest.raises(progsem.UserError, match=f"progsem keep {study.file}"):
        study.checkpoint().states()


def test_the_command_makes_what_is_missing(finished):
    """Snakemake, given what a study says, plans the jobs that the study says are missing."""
    other = progsem.open_study(finished / "studies" / "tiny.yaml", config={"statistics": {"resamples": 101}})
    tree = Tree(finished)
    assert tree.planned(*shlex.split(other.command)[1:]) == {"statistics": 1, "figures": 1}


# Hidden states and labels.


@pytest.mark.parametrize("source", ["generated", "forced"])
@pytest.mark.parametrize("semantics", ["original", "mirror", "perm-01423"])
def test_states_and_labels_are_those_that_the_stage_probes_has(study, last, finished, source, semantics):
    states = last.states(source, "test", semantics=semantics)
    path = next(
        path
        for path in finished.glob("results/*/*/seed-0/step-000020/predictions.arrow")
        if semantics in read_metadata(path).get("semantics", ()) and 0 in read_metadata(path)["offsets"]
    )
    columns, about = read_table(path)
    mine = columns["semantics"] == about["semantics"].index(semantics)
    mine &= (columns["source"] == ("generated", "forced").index(source)) & (columns["offset"] == 0)
    assert len(states) == mine.sum() > 50
    np.testing.assert_array_equal(states.groups, columns["program"][mine])
    np.testing.assert_array_equal(states.rows["statement"], columns["statement"][mine])
    for feature in study.features:
        heads = [name for name in states.y if name.split(".")[0] == feature]
        codes = np.stack([states.y[name].cat.codes for name in heads], axis=1)
        np.testing.assert_array_equal(codes, columns[f"label_{feature}"][mine].reshape(len(states), -1))
    traced, _ = read_table(files(finished, f"traces/*/seed-0/step-000020/{source}.arrow"))
    at = {key: row for row, key in enumerate(zip(traced["program"], traced["statement"], strict=True))}
    rows = [at[key] for key in zip(states.groups, states.rows["statement"], strict=True)]
    assert states.X.dtype == np.float32
    np.testing.assert_array_equal(states.X, traced["layer_2"][rows].astype(np.float32))


def test_classes_have_names():
    named = LANGUAGE.features.classes(("facing", "offset_from_start", "markers"), {"height": 2, "width": 3})
    assert named == [
        ["north", "east", "south", "west"],
        ["-2", "-1", "0", "1", "2"],
        ["-1", "0", "1"],
        ["0", "1", "2", "3 or more"],
    ]


def test_labels_follow_from_the_program_and_its_world(last):
    """Checked by hand, so to say: turning is what changes where the robot faces."""
    states = last.states("forced", "train")
    programs = last.programs("train")
    turns = {"turn_left": -1, "turn_right": 1}
    for state in range(0, len(states), 7):
        row = programs.loc[states.groups[state]]
        done = re.findall(r"(\w+)\(\)", row["reference"].split("{")[1])[: states.rows["statement"][state] + 1]
        start = KarelWorld.from_rows(row["input_1"].split()).heading
        heading = (start + sum(turns.get(name, 0) for name in done)) % 4
        assert states.y["facing"][state] == ("north", "east", "south", "west")[heading]


def test_layers_offsets_splits_and_features_are_as_asked(last):
    every, train = last.states(), last.states(split="train")
    assert set(every.rows["split"]) == {"train", "validation", "test"} and set(train.rows["split"]) == {"train"}
    assert len(train) == (every.rows["split"] == "train").sum()
    assert last.states(layer=1).layer == "layer_1" and last.states(layer="mean").layer == "mean"
    assert not np.array_equal(last.states(layer=0).X, last.states(layer=1).X)
    later = last.states("forced", offset=1)
    assert len(later) < len(last.states("forced")) and not later.rows["final"].any()
    assert list(last.states(features=["markers"]).y) == ["markers"] == list(last.states(features="markers").y)
    assert list(last.states(features="position").y) == ["position.x", "position.y"]


def test_any_meaning_is_executed_on_the_spot(last):
    own = last.states(semantics={"move": "turn_left"}, features="facing", split="train", source="forced")
    original = last.states(features="facing", split="train", source="forced")
    assert len(own) == len(original) and (own.y["facing"].values != original.y["facing"].values).any()
    shift = {"turn_left": "turn_right", "turn_right": "move", "move": "turn_left"}
    named, given = (last.states("forced", semantics=semantics).y for semantics in ("shift", shift))
    pd.testing.assert_frame_equal(named, given)


def test_scikit_learn_takes_them_as_they_are(last):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score

    train, test = (last.states(split=split) for split in ("train", "test"))
    probe = LogisticRegression(max_iter=2000).fit(train.X, train.y["facing"])
    assert set(probe.predict(test.X)) <= set(test.y["facing"].cat.categories)
    scores = cross_val_score(
        LogisticRegression(max_iter=200), train.X, train.y["facing"], groups=train.groups, cv=GroupKFold(3)
    )
    assert len(scores) == 3


LARGE = """
import resource, sys, time
import numpy as np
import progsem
from progsem.languages import LANGUAGE

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

study = progsem.open_study(sys.argv[1])
checkpoint = study.checkpoint()
states = checkpoint.states("forced", "test")
before = resident()
states = checkpoint.states("forced", "test")
assert resident() - before < 20e6, (resident() - before) / 1e6
X = states.X
print(len(X), (resident() - before) / 1e6)
assert resident() - before < 60e6, (resident() - before) / 1e6
"""


def test_states_are_mapped_and_not_read(finished, tmp_path):
    """Of 300 MB of states those of one split are read, and only when they are asked for."""
    root = tmp_path / "large"
    shutil.copytree(finished, root, symlinks=True)
    path = files(root, "traces/*/seed-0/step-000020/forced.arrow")
    columns, about = read_table(path)
    splits = read_table(path.with_name("programs.arrow"))[0]["split"][columns["program"]]
    train, test = (np.flatnonzero(splits == split) for split in (0, 2))
    rows = np.concatenate([np.resize(train, 300_000_000 // columns["layer_2"][:1].nbytes), test])
    kept = {name: columns[name][rows] for name in ("program", "position", "statement", "layer_2")}
    path.unlink()  # which is mapped
    write_table(path, kept, about, "states")
    assert path.stat().st_size > 300e6
    answer = subprocess.run(
        [sys.executable, "-c", LARGE, root / "studies" / "tiny.yaml"], capture_output=True, encoding="utf-8"
    )
    assert answer.returncode == 0, answer.stderr


# Probes.


@pytest.mark.parametrize("depth", ["linear", "mlp1", "mlp2"])
@pytest.mark.parametrize("semantics", ["original", "mirror"])
def test_a_probe_is_that_of_the_study(last, finished, depth, semantics):
    for source in ("generated", "forced"):
        probe = last.probe(depth, source, semantics=semantics)
        rows = [
            row
            for path in finished.glob("results/[pi]*/*/seed-0/step-000020/accuracy.csv")
            for row in read_csv(path)
            if row.get("semantics") == semantics and row["offset"] == "0" and row["seed"] == "0"
            if (row["source"], row["depth"]) == (source, depth)
        ]
        found = {row["feature"]: float(row["test_accuracy"]) for row in rows}
        assert probe.accuracy.to_dict() == pytest.approx(found, abs=1e-6)
        test = last.states(source, "test", semantics=semantics)
        right = (probe.predict(test.X)["facing"] == test.y["facing"]).mean()
        assert right == pytest.approx(probe.accuracy["facing"], abs=0.02)  # states were standardised in other words
        sure = probe.confidence(test.X)
        assert list(sure) == list(last.study.features) and ((sure > 0) & (sure <= 1)).all(axis=None)


# Programs, what it writes, and edits.


def test_programs_are_those_that_were_written(last, finished):
    programs = last.programs()
    columns, _ = read_table(files(finished, "traces/*/seed-0/step-000020/programs.arrow"))
    assert len(programs) == len(columns["split"]) and list(programs.index) == list(range(len(programs)))
    np.testing.assert_array_equal(programs["correct"], columns["correct_shown"].astype(bool))
    np.testing.assert_array_equal(programs["correct_all"], columns["correct_all"].astype(bool))
    for _, row in programs.iloc[::13].iterrows():
        before, wanted = last.study.world((row["input_1"], row["output_1"]))
        run = last.study.program(row["reference"]).run(before)
        assert run.halted and run.output == wanted
        if row["finished"]:
            assert (last.study.program(row["written"]).run(before).output == wanted) == row["correct"]


def test_a_model_and_its_tokenizer_are_those_of_transformers(last):
    row, _ = written_for(last)
    model, tokenizer = last.model(), last.tokenizer()
    assert model.config.n_embd == 32 and not model.training
    grids = [line[1:-1] for world in (row["input_1"], row["output_1"]) for line in world.split()[1:-1]]
    ids = tokenizer(f"Examples: {' '.join(''.join(grids))} Code: def run() {{", return_tensors="pt")["input_ids"]
    assert (ids != tokenizer.unk_token_id).all()
    assert model(ids).logits.shape == (1, ids.shape[1], len(tokenizer))


@pytest.mark.parametrize("index", range(0, 12, 3))
def test_what_it_writes_for_a_specification_is_what_was_traced(last, index):
    row, examples = written_for(last, index)
    writing = last.write(*examples)
    assert str(writing.program) == row["written"] and writing.correct == (row["correct"],)
    assert writing.finished == row["finished"]
    traced = last.states("generated", "test")
    mine = traced.X[traced.groups == row.name]
    np.testing.assert_allclose(writing.states()[: len(mine)], mine, atol=0.02)  # float16, another batch
    odds = writing.probabilities
    np.testing.assert_allclose(odds.sum(axis=1), 1, atol=1e-5)
    names = re.findall(r"\w+\(\)", row["written"].split("{")[1])
    assert [odds.iloc[number].idxmax() for number in range(len(names))] == names
    assert np.log([odds.iloc[number].max() for number in range(len(odds))]).sum() >= writing.log_likelihood - 1e-3


def test_what_probes_read_while_it_writes(last):
    row, examples = written_for(last)
    read = last.write(*examples).read()
    probe = last.probe()
    states = last.states("generated", "test")
    mine = probe.predict(states.X[states.groups == row.name])
    headings = ("north", "east", "south", "west")
    assert [headings[one["read"]["heading"]] for one in read.statements] == list(mine["facing"])
    mirrored = last.write(*examples).read(semantics="mirror")
    assert mirrored.semantics == last.study.semantics["mirror"]


def test_an_exchange_of_everything_behind_the_last_block_is_the_other_beginning(last):
    _, examples = written_for(last)
    whole = last.edit(examples, FORWARDS, LEFT, layer=2)
    np.testing.assert_allclose(whole.probabilities.loc["edited"], whole.probabilities.loc["source"], atol=1e-5)
    assert whole.distance["edited"] < 1e-4 <= whole.distance["unedited"]
    sham = last.edit(examples, FORWARDS, LEFT, layer=2, sham=True)
    assert sham.moved == pytest.approx(whole.moved, rel=1e-4) and sham.distance["edited"] > whole.distance["edited"]
    same = last.edit(examples, FORWARDS, FORWARDS, layer=1)
    assert same.moved == 0 and str(same.written["edited"]) == str(same.written["unedited"])


def test_an_edit_stays_within_its_subspace(last):
    _, examples = written_for(last)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0]
    full = last.edit(examples, FORWARDS, LEFT, layer=1)
    every = last.edit(examples, FORWARDS, LEFT, layer=1, subspace=basis)
    part = last.edit(examples, FORWARDS, LEFT, layer=1, subspace=basis[:, :4])
    np.testing.assert_allclose(every.probabilities, full.probabilities, atol=1e-4)
    assert 0 < part.moved < full.moved
    found = last.edit(examples, FORWARDS, LEFT, layer=2, subspace="weights", feature="facing")
    assert 0 < found.moved < last.edit(examples, FORWARDS, LEFT, layer=2).moved


# Tables, figures, pictures.


def test_every_table_is_a_frame_with_what_its_columns_mean(study, finished):
    for name in study.tables:
        frame = study.table(name)
        rows = read_csv(files(finished, f"statistics/*/{name}.csv"))
        assert len(frame) == len(rows) and list(frame) == list(TABLES[name].columns)
        assert set(frame.attrs["columns"]) == set(described(name)) == set(frame)
        assert all(frame.attrs["columns"][column][:2] == about[:2] for column, about in described(name).items())
        assert not any(frame[column].isna().all() for column in frame if frame[column].dtype == np.dtype(object))
    content = study.table("probes")
    assert content["accuracy"].dtype == float and content["step"].dtype == int
    assert content.attrs["columns"]["accuracy_low"][2].startswith("lower end of the interval of: ")
    # What a table says of a checkpoint finds it.
    row = content[content.lm_seed == 0].iloc[-1]
    found = study.checkpoint(row.lm_seed, row.step)
    assert found.folder.is_dir() and (type(found.seed), type(found.step)) == (int, int)


def test_figures_are_matplotlibs(study, finished):
    figure = study.figure("content_vs_accuracy")
    assert isinstance(figure, Figure) and figure.axes
    figure.axes[0].set_title("mine")
    for name in study.figures:
        drawn = (finished / "results" / "figures" / f"{name}.png").exists()
        if not drawn:
            with pytest.raises(progsem.UserError, match="nothing for the figure"):
                study.figure(name)


def test_a_figure_wants_the_statistics_of_variants(study, finished):
    config = {"variants": {"own": {}, "other": {"probes": {"steps": 31}}}}
    varied = progsem.open_study(finished / "studies" / "tiny.yaml", config=config)
    assert varied.table("probes").equals(study.table("probes"))
    with pytest.raises(progsem.UserError, match="has no statistics yet; to make them"):
        varied.figure("variants")


def test_worlds_programs_and_executions_show_themselves(study):
    before, after = study.world(("#####\n#>..#\n#.1.#\n#..##\n#####", ["#####", "#.>.#", "#.1.#", "#..##", "#####"]))
    assert str(before).split() == ["#####", "#>..#", "#.1.#", "#..##", "#####"]
    assert study.world((str(before), str(after))) == (before, after) and before != after
    run = study.program("def run() { move(); turn_right(); move(); pick_marker() }").run(before)
    assert "pick_marker()  row 1, column 1, heading 2, markers 0" in str(run) and str(run.output) in str(run)
    assert [one["text"] for one in run.statements] == ["move()", "turn_right()", "move()", "pick_marker()"]
    put = study.program("def run() { put_marker(); move() }").run(before).statements[1]
    cells, *_ = LANGUAGE.drawing.after({}, put | {"read": None})
    assert cells[0, 0] == 1  # what was put down stays where it is
    for shown in (before, run, run.program):
        assert "<script" not in shown._repr_html_()
    page = run._repr_html_()
    assert page.count("<img") == 1 and 'alt="def run()' in page
    turned = study.program(FORWARDS).run(before, {"move": "turn_left"})
    assert turned.statements[0]["true"]["heading"] == 0 and turned.output != after


def test_worlds_of_something_else_are_not_taken(study, last):
    """Also as worlds, and one of them as text: what no example can be is refused, and what a drawing hides is kept."""
    _, examples = written_for(last)
    (first, second), other = study.world(examples[0]), progsem.open_study("rectangles")
    points = other.world("11+04-")
    with pytest.raises(progsem.UserError, match="worlds of another language, expected those of karel"):
        last.write(points)
    with pytest.raises(progsem.UserError, match="program of rectangles, expected one of karel"):
        last.edit(examples, other.program("[1,3,1,4]"), LEFT, layer=1)
    with pytest.raises(progsem.UserError, match="expected a World"):
        other.program("[1,3,1,4]").run(first)
    drawn = last.write((first, str(second))).examples[0]
    assert drawn == (first, second) and drawn._repr_html_().count("<img") == 1
    assert study.world((str(first), second)) == (first, second)


def test_checkpoints_are_a_mapping(study):
    assert (0, 20) in study.checkpoints and (0, 1) not in study.checkpoints and "x" not in study.checkpoints
    assert study.checkpoints.get((9, 9)) is None and study.checkpoints.get((0, 20)).step == 20
    assert study.checkpoints[np.int64(0), 20.0].step == 20


def test_a_probe_is_kept(last):
    assert last.probe() is last.probe() and last.probe() is not last.probe(layer=1)
    assert last.probe(semantics="mirror") is last.probe(semantics=last.study.semantics["mirror"])


def test_shams_differ_by_their_seed(last):
    _, examples = written_for(last)
    shams = [last.edit(examples, FORWARDS, LEFT, 1, sham=True, seed=seed).probabilities for seed in (0, 0, 1)]
    assert shams[0].equals(shams[1]) and not shams[0].equals(shams[2])


# What is public, and what is not there.


def test_a_bad_name_is_one_line_with_the_nearest(study, last):
    _, examples = written_for(last)
    for ask, said in [
        (lambda: study.checkpoints[0, 15], "no checkpoint (0, 15)"),
        (lambda: last.states(split="tset"), "'test'"),
        (lambda: last.states(source="forcd"), "'forced'"),
        (lambda: last.states(layer=7), "expected one of mean, 0, 1, 2 or last; traces.layers"),
        (lambda: last.states(layer="layr_1"), "'layr_1'"),
        (lambda: last.states(layer=1.5), "expected a whole number"),
        (lambda: last.states(offset="1"), "expected a whole number"),
        (lambda: last.states(offset=50), "has a partner at offset 50"),
        (lambda: last.states(features=[]), "expected one or several of"),
        (lambda: last.states(features=3), "expected one or several of"),
        (lambda: last.probe().predict(np.ones((2, 5))), "given of shape (2, 5), expected hidden states (N, 32)"),
        (lambda: last.probe().predict([]), "expected hidden states (N, 32)"),
        (lambda: last.states(features="facng"), "'facing'"),
        (lambda: last.states(semantics="miror"), "'mirror'"),
        (lambda: last.states(semantics={"mve": "move"}), "'move'"),
        (lambda: last.probe("lin"), "linear, mlp1, mlp2"),
        (lambda: last.probe(offset=9), "0 train states"),
        (lambda: study.table("probe"), "'probes'"),
        (lambda: study.figure("galery"), "'gallery'"),
        (lambda: study.program("def run() { mve() }"), "'mve'"),
        (lambda: study.world(("#", "#")), "at least 3 of 3"),
        (
            lambda: study.world(("#####\n#>..#\n#...#\n#...#\n#####", "#####\n#>.##\n#...#\n#...#\n#####")),
            "walls differ",
        ),
        (lambda: study.world(("####\n#>.#\n#..#\n####", "####\n#>.#\n#..#\n####")), "worlds.height"),
        (lambda: study.program(None), "expected its text"),
        (lambda: study.program(FORWARDS).run("#"), "expected a World"),
        (lambda: study.program(FORWARDS).run(study.world(examples[0])[0], "mirror"), "Study.semantics"),
        (lambda: last.write(), "given a list of 0, expected 1 examples"),
        (lambda: last.write((examples[0][0],)), "expected two worlds"),
        (lambda: last.write((examples[0][0], "#####\n#####\n#####\n#####\n#####")), "example 1, output"),
        (lambda: last.edit(examples[0], FORWARDS, LEFT, layer=1), "given a list of 2, expected 1 examples"),
        (lambda: last.edit(study.world(examples[0]), FORWARDS, LEFT, layer=1), "expected a list of examples"),
        (lambda: last.edit(None, FORWARDS, LEFT, layer=1), "expected a list of examples"),
        (lambda: last.edit(examples, LONG, LONG, layer=1), "given a beginning of 9 codes, expected at most"),
        (lambda: last.edit(examples, FORWARDS, LEFT, layer=1.0), "expected a whole number"),
        (lambda: last.edit(examples, FORWARDS, LEFT, 2, subspace="learned_1"), "give feature=, one of facing"),
        (lambda: last.edit(examples, FORWARDS, "def run() { move(); move() }", layer=1), "as many"),
        (lambda: last.edit(examples, FORWARDS, LEFT, layer=3), "from 1 to 2"),
        (lambda: last.edit(examples, FORWARDS, LEFT, layer=1, subspace=np.ones((32, 1))), "orthonormal"),
        (lambda: last.edit(examples, FORWARDS, LEFT, layer=1, subspace=np.ones((3, 1))), "(32, d)"),
        (lambda: last.edit(examples, FORWARDS, LEFT, 2, subspace="learned_9", feature="facing"), "learned_1"),
        (
            lambda: study.checkpoint(step=0).edit(examples, FORWARDS, LEFT, 2, subspace="means", feature="facing"),
            "edits",
        ),
        (lambda: progsem.open_study("tny"), "'tiny'"),
        (lambda: progsem.open_study(None), "expected a file"),
        (lambda: progsem.open_study(ROOT), "config.yaml"),
        (lambda: progsem.open_study("tiny", config="lm={}"), "expected a mapping"),
        (lambda: progsem.open_study("tiny", folder="/nowhere"), "the folder that results/ is in"),
        (lambda: progsem.open_study("tiny", config={"lm": {"width": "wide"}}), "lm.width"),
    ]:
        with pytest.raises(progsem.UserError) as caught:
            ask()
        line = str(caught.value)
        assert "\n" not in line and said in line, line


def interface() -> list[str]:
    """Every public name with its signature, and those of its attributes."""
    lines = [f"version {progsem.__version__.split('.')[0]}"]
    for name in progsem.__all__:
        value = getattr(progsem, name)
        assert inspect.getdoc(value), name
        if not inspect.isclass(value):
            lines.append(f"{name}{inspect.signature(value)}")
            continue
        lines.append(name)
        for attribute, member in sorted(vars(value).items()):
            if attribute.startswith("_") or attribute in ("of",):
                continue
            if inspect.isfunction(member):
                assert inspect.getdoc(member), f"{name}.{attribute}"
                lines.append(f"{name}.{attribute}{inspect.signature(member)}")
            else:
                lines.append(f"{name}.{attribute}")
    return lines


def test_the_interface_is_what_this_version_promises():
    """What was public stays: whoever takes a name away, or changes a signature, begins another major version.

    New names are written into the file.
    """
    promised = SIGNATURES.read_text(encoding="utf-8").splitlines()
    assert interface() == promised, "write what is public into tests/data/interface.txt"


def test_importing_it_takes_no_time_and_nothing_heavy():
    code = (
        "import sys, progsem; print(sorted({'torch', 'pandas', 'numpy', 'matplotlib', 'pyarrow'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.strip() == "[]"
    with pytest.raises(AttributeError):
        progsem.open_stdy  # noqa: B018


def test_the_page_about_it_runs_as_it_stands(finished, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 7
    monkeypatch.chdir(finished)
    there: dict = {}
    for block in blocks:
        exec(compile(block.replace('"mine.png"', repr(str(tmp_path / "mine.png"))), "docs/python.md", "exec"), there)
    assert 0 < there["probe"].score(there["test"].X, there["test"].y["facing"]) <= 1
    assert (tmp_path / "mine.png").stat().st_size > 1000


def test_five_lines_of_the_readme_fit_a_probe(finished, monkeypatch):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert 'open_study("config.yaml")' in block
    monkeypatch.chdir(finished)
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", block.replace("config.yaml", "studies/tiny.yaml")],
        capture_output=True,
        encoding="utf-8",
        cwd=finished,
    )
    assert said.returncode == 0, said.stderr
    assert 0 < float(said.stdout) <= 1

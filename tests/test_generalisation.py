"""New specifications: which ones are drawn, and what is written and judged, against the traces' way and plain loops."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from progsem.data.corpus import sampler
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages.karel.codes import ORIGINAL, PAD, WALL, most_codes
from progsem.languages.karel.execution import WorldStates
from progsem.languages.karel.kernels import execute
from progsem.languages.karel.text import ENCODINGS, glyphs
from progsem.lm import generalisation, traces
from progsem.lm import model as lm
from progsem.lm.codegen import model as codegen
from progsem.lm.decoding import Written
from progsem.storage.files import read_table
from progsem.study import config
from progsem.study.vocabulary import SPLITS

SETS = {"longer": {"statements": 3}, "larger": {"cells": 1}, "shorter": {"statements": -1}}
LENGTHS = {"longer": (5, 7), "larger": (2, 4), "shorter": (1, 1)}
SIZES = {"longer": 3, "larger": 4, "shorter": 3}


def load(sets=SETS, control_flow=0.0, test=40):
    return config.load(
        {
            "worlds": {"height": 3, "width": 3},
            "programs": {"train_length": [2, 4], "test_length": [1, 4], "control_flow": control_flow},
            "corpus": {"train": 20, "validation": 10, "test": 20, "examples": 1, "held_out": 2},
            "traces": {"train": 20, "validation": 10, "test": 20, "layers": "each"},
            "controls": {"kinds": []},
            "generalisation": {"sets": sets, "test": test},
        }
    )


def make(folder: Path, study=None, batch: int = 16) -> Job:
    """Run the stage on an untrained model with sharp preferences."""
    study = study or load()
    encoding = ENCODINGS[study.tokens.encoding]()
    model = codegen.CodeGen(codegen.Shape(len(encoding.vocabulary), 2, 32, 4, 8))
    model.initialise(7, 0.35)
    with torch.no_grad():  # so that some programs end
        model.lm_head.bias[encoding.ids["}"]] = 3.0
    files = {name: folder / name for name in ("model.safetensors", "config.json")}
    model.save(*files.values())
    sets = {name: study.varied(variation) for name, variation in study.generalisation.sets.items()}
    frozen = {
        "test": study.generalisation.test,
        "sets": {
            name: {"length": list(length), "height": worlds.height, "width": worlds.width}
            for name, (worlds, length) in sets.items()
        },
    }
    slices = study.model_dump(mode="json") | {"generalisation": frozen, "step": 5, "seed": 3}
    inputs = {"weights": [files["model.safetensors"]], "config": [files["config.json"]]}
    job = Job("generalisation", slices, inputs, {"programs": [folder / "programs.arrow"]}, batch=batch)
    generalisation.run(job)
    return job


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compare in float32, whatever the hardware multiplies fastest."""
    monkeypatch.setattr(traces, "choose_precision", lambda name, device: torch.float32)


def drawn(job: Job, name: str) -> dict[str, np.ndarray]:
    """All specifications of a set."""
    shards = list(generalisation.specifications(generalisation.set_jobs(job)[name], name))
    parts = [
        {"programs": shard.programs, "keys": shard.keys}
        | shard.worlds._asdict()
        | {f"out_{field}": array for field, array in shard.outputs._asdict().items()}
        for shard in shards
    ]
    return {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}


def rows(job: Job, name: str) -> dict[str, np.ndarray]:
    """The rows of a set in the file."""
    columns, metadata = read_table(job.output("programs"))
    here = columns["set"] == metadata["sets"].index(name)
    return {column: values[here] for column, values in columns.items()}


@pytest.mark.parametrize("name", SETS)
def test_specifications_are_of_the_kind_that_is_asked_for(tmp_path, name):
    job = make(tmp_path)
    _, metadata = read_table(job.output("programs"))
    assert metadata["sets"] == ["larger", "longer", "shorter"]
    assert (metadata["seed"], metadata["step"]) == (3, 5)
    shape = {"length": list(LENGTHS[name]), "height": SIZES[name], "width": SIZES[name]}
    assert metadata["shapes"][name] == shape
    specifications, written = drawn(job, name), rows(job, name)
    lengths = (specifications["programs"] != PAD).sum(axis=1)
    assert set(lengths) == set(range(LENGTHS[name][0], LENGTHS[name][1] + 1))
    assert specifications["cells"].shape == (40, 3, SIZES[name], SIZES[name])
    assert len(set(specifications["keys"].tolist())) == 40
    np.testing.assert_array_equal(
        written["reference"][:, : specifications["programs"].shape[1]], specifications["programs"]
    )
    assert (written["reference"][:, specifications["programs"].shape[1] :] == PAD).all()
    cells, poses, halted = execute(
        specifications["programs"], specifications["cells"], specifications["poses"], np.array(ORIGINAL, np.uint8), 200
    )
    assert halted.all()
    np.testing.assert_array_equal(cells, specifications["out_cells"])
    np.testing.assert_array_equal(poses, specifications["out_poses"])


def test_a_set_that_could_be_used_up_repeats_nothing(tmp_path):
    """One statement in tiny worlds without walls or markers: 16 poses and 5 statements, of which half are drawn."""
    study = config.load(
        {
            "worlds": {"height": 2, "width": 2, "wall_probability": 0.0, "marker_probability": 0.0},
            "programs": {"train_length": [2, 3], "test_length": [2, 3]},
            "corpus": {"train": 20, "validation": 10, "test": 20, "examples": 1, "held_out": 0},
            "traces": {"train": 20, "validation": 10, "test": 20},
            "generalisation": {"sets": {"one": {"statements": -1}}, "test": 40},
        }
    )
    job = make(tmp_path, study)
    specifications = drawn(job, "one")
    seen = {
        (int(program[0]), *map(int, pose[0]))
        for program, pose in zip(specifications["programs"], specifications["poses"], strict=True)
    }
    assert len(seen) == 40
    # Without drawing again there would be repetitions: the first draws alone have some.
    one = generalisation.set_jobs(job)["one"]
    first = generalisation.Shard(_sampler(one, "one"), 0, 40, 200)
    assert len(np.unique(first.keys)) < 40


def _sampler(job: Job, name: str):
    number = len(SPLITS) + generalisation.zlib.crc32(name.encode())
    return sampler(job, number, job.section("programs").train_length)


def test_neither_the_batch_nor_the_other_sets_change_what_is_drawn(tmp_path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    one = make(tmp_path / "a", batch=16)
    other = make(tmp_path / "b", batch=7)
    fewer = make(tmp_path / "c", load({"longer": SETS["longer"]}))
    for name in SETS:
        for field, values in drawn(one, name).items():
            np.testing.assert_array_equal(values, drawn(other, name)[field])
        np.testing.assert_array_equal(rows(one, name)["generated"], rows(other, name)["generated"])
    for field, values in drawn(one, "longer").items():
        np.testing.assert_array_equal(values, drawn(fewer, "longer")[field])
    # Streams are the sets' own: not those of each other, nor the corpus's.
    worlds = [drawn(one, name)["poses"] for name in ("longer", "shorter")]
    assert (worlds[0] != worlds[1]).any()


@pytest.mark.parametrize("control_flow", [0.0, 0.5])
def test_programs_are_written_as_in_the_traces(tmp_path, control_flow):
    """The traces read the references first and keep states; what is written must be the same."""
    job = make(tmp_path, load(control_flow=control_flow))
    model = lm.load(job.input("weights"), job.input("config"), torch.device("cpu")).eval()
    encoding = ENCODINGS["compact"]()
    for name, one in generalisation.set_jobs(job).items():
        specifications, written = drawn(job, name), rows(job, name)
        tracer = traces.Tracer(model, encoding, one)
        grids = (
            glyphs(WorldStates(specifications[f"{end}cells"], specifications[f"{end}poses"])) for end in ("", "out_")
        )
        prompts = encoding.prompts(*(grid[:, :1] for grid in grids))
        expected, *_ = tracer.read(prompts, specifications["programs"])
        codes = traces.whole_programs(expected)
        statements = LENGTHS[name][1] + one.section("traces").extra_statements
        assert codes.shape[1] == most_codes(one.section("programs"), one.section("traces").extra_statements)
        if control_flow == 0:
            assert codes.shape[1] == statements
        np.testing.assert_array_equal(written["generated"][:, : codes.shape[1]], codes)
        assert (written["generated"][:, codes.shape[1] :] == PAD).all()
        np.testing.assert_array_equal(written["generated_finished"], expected.finished)
        np.testing.assert_array_equal(written["unconstrained_parses"], expected.parses_freely)
    columns, _ = read_table(job.output("programs"))
    assert columns["generated_finished"].any() and not columns["generated_finished"].all()


def test_judged_as_the_worlds_say(tmp_path):
    """A writer that gives back references, changed ones and unfinished ones, judged by an obvious comparison."""
    job = make(tmp_path)
    one = generalisation.set_jobs(job)["longer"]
    (shard,) = generalisation.specifications(Job(one.stage, one.slice, one.inputs, one.outputs, batch=40), "longer")
    programs = np.pad(shard.programs, ((0, 0), (0, 2)), constant_values=PAD)
    programs[::3, 0] = (programs[::3, 0] + 1) % 5
    finished = np.arange(40) % 4 != 3
    freely = np.arange(40) % 2 == 0
    nothing = np.zeros(40)
    written = Written(programs, finished, freely & finished, nothing, nothing, torch.zeros(1))
    tracer = SimpleNamespace(write=lambda prompts: written)
    solved = generalisation.solve(tracer, ENCODINGS["compact"](), shard, 1, 200)

    def picture(cells, pose):
        grid = np.where(cells == WALL, -1, cells.astype(int))
        grid[pose[0], pose[1]] = 100 + pose[2]  # the robot hides the markers of its cell
        return grid

    cells, poses, _ = execute(programs, *shard.worlds, np.array(ORIGINAL, np.uint8), 200)
    outcomes = set()
    for row in range(40):
        right = [
            np.array_equal(picture(cells[row, k], poses[row, k]), picture(*shard.outputs.at((row, k))))
            for k in range(3)
        ]
        assert solved["correct_shown"][row] == (right[0] and finished[row])
        assert solved["correct_all"][row] == (all(right) and finished[row])
        assert solved["unconstrained_correct"][row] == (right[0] and finished[row] and freely[row])
        outcomes.add((right[0], all(right)))
    assert outcomes >= {(True, True), (False, False)}


def test_a_set_without_enough_specifications_is_named(tmp_path):
    study = config.load(
        {
            "worlds": {"height": 2, "width": 2, "wall_probability": 0.0, "marker_probability": 0.0},
            "programs": {
                "train_length": [2, 3],
                "test_length": [2, 3],
                "weights": {"pick_marker": 1, "put_marker": 1, "turn_left": 1e-6, "turn_right": 1e-6, "move": 1e-6},
            },
            "corpus": {"train": 20, "validation": 10, "test": 20, "examples": 1, "held_out": 0},
            "traces": {"train": 20, "validation": 10, "test": 20},
            "generalisation": {"sets": {"one": {"statements": -1}}, "test": 40},
        }
    )
    with pytest.raises(UserError, match=r"^generalisation\.sets\.one: 1000 draws, and no new specification found"):
        make(tmp_path, study)

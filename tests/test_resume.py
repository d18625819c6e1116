"""The rolling state of an interval: whole and of this interval, or refused."""

from pathlib import Path

import pytest
import torch

from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.lm.resume import RollingState

SLICE = {"lm": {"width": 32}, "seed": 0, "from": 4, "to": 8, "code": "0123abcd"}
INPUTS = {"tokens/train/00000.arrow": "1f" * 32}
TENSORS = {"weights.a": torch.tensor([[1.5, -2.0]]), "losses": torch.empty(0), "norms": torch.tensor([3, 4])}
LOG = {"rows": [{"step": 5, "loss": 0.1 + 0.2}], "tokens": 17}


def rolling(folder: Path, changes: dict | None = None, inputs: dict | None = None) -> RollingState:
    job = Job("train", SLICE | (changes or {}), {}, {"weights": [folder / "model.safetensors"]})
    job.checksums = INPUTS if inputs is None else inputs
    return RollingState(job, 4)


@pytest.fixture
def saved(tmp_path) -> Path:
    state = rolling(tmp_path)
    state.save(6, TENSORS, LOG)
    return state.path


def test_what_was_saved_comes_back(tmp_path, saved):
    step, tensors, log = rolling(tmp_path).load()
    assert (step, log) == (6, LOG)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert saved.parent == tmp_path
    saved.unlink()
    assert list(tmp_path.iterdir()) == []
    assert rolling(tmp_path).load() is None


def test_half_a_save_is_cleared_away(tmp_path, saved):
    (tmp_path / f".{saved.name}.killed.safetensors").write_bytes(b"half")
    assert rolling(tmp_path).load()[0] == 6
    assert list(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize(
    "other",
    [
        {"changes": {"lm": {"width": 64}}},
        {"changes": {"seed": 1}},
        {"changes": {"to": 12}},
        {"changes": {"code": "4567cdef"}},
        {"inputs": {"tokens/train/00000.arrow": "2f" * 32}},
        {"inputs": {**INPUTS, "more": "3f" * 32}},
    ],
)
def test_another_interval_is_refused(tmp_path, saved, other):
    assert_refused(rolling(tmp_path, **other), "saved with another config, code or data (it is ")
    assert saved.exists()


def test_a_flipped_bit_in_any_byte_is_refused(tmp_path, saved):
    whole = saved.read_bytes()
    for at in range(len(whole)):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert_refused(rolling(tmp_path))
    saved.write_bytes(whole)
    assert rolling(tmp_path).load()[0] == 6


def test_a_file_cut_short_is_refused(tmp_path, saved):
    whole = saved.read_bytes()
    for size in [*range(0, len(whole), 10), len(whole) - 1]:
        saved.write_bytes(whole[:size])
        assert_refused(rolling(tmp_path), "not readable")


def test_other_tensors_are_refused(tmp_path, saved):
    from progsem.storage.files import save_tensors

    save_tensors(saved, TENSORS)
    assert_refused(rolling(tmp_path), "damaged")


def assert_refused(state: RollingState, what: str = "") -> None:
    """One line that names the file, what is wrong with it and what to do."""
    with pytest.raises(UserError) as raised:
        state.load()
    line = str(raised.value)
    assert line.startswith(f"{state.path}: {what}")
    assert "expected" in line
    assert line.endswith("; delete it to start the interval at step 4 again")
    assert "\n" not in line

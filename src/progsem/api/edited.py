"""What a model does when its residual stream is edited behind a beginning of a program."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from progsem.api.pictures import Program
from progsem.api.writing import as_series, spelled, texts_of
from progsem.editing import subspaces
from progsem.editing.streams import Edit, Editable
from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.lm.traces import Specifications, whole_programs

if TYPE_CHECKING:
    from progsem.api.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class Edited:
    """What comes behind a beginning as it is, when it is edited, and behind what it was edited with.

    probabilities: of what may come next, rows `unedited`, `edited` and `source`. written: the programs that these lead
    to, by the same names. moved: the length of the change, over that of the stream.
    """

    probabilities: pd.DataFrame
    written: dict[str, Program]
    moved: float

    @property
    def distance(self) -> pd.Series:
        """Total variation between what comes behind the source, and behind the beginning unedited and edited."""
        wanted = self.probabilities.loc["source"]
        rows = self.probabilities.loc[["unedited", "edited"]]
        return rows.sub(wanted).abs().sum(axis=1).div(2).rename("distance")

    def __repr__(self) -> str:
        lines = [f"{name}: {program}" for name, program in self.written.items()]
        distances = ", ".join(f"{name} {value:.3f}" for name, value in self.distance.items())
        return "\n".join([*lines, f"distance to what comes behind the source: {distances}"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>{self.probabilities.style.format('{:.3f}').to_html()}"


def edited(
    checkpoint: Checkpoint,
    job: Job,
    specifications: tuple[Specifications, Specifications],
    programs: list[Program],
    layer: int,
    basis: np.ndarray | None,
    sham: int | None,
) -> Edited:
    """Exchange what lies in a basis (C, d), or all, behind `programs[0]` for what lies there behind `programs[1]`.

    sham: the seed of a random subspace to change instead, by as much.
    """
    model = checkpoint._own
    if layer not in range(1, model.layers + 1):
        raise UserError(f"given layer {layer}, expected the number of a block, from 1 to {model.layers}")
    editable, width = Editable(model), model.width
    begun, reads = [], []
    for specification, program in zip(specifications, programs, strict=True):
        texts = texts_of(specification, job)
        length = int((program.codes != LANGUAGE.codes.PAD).sum())
        if program.language is not checkpoint.study._language:
            raise UserError(f"given a program of {program.language.name}, expected one of {LANGUAGE.name}: {program}")
        if length > (room := specification.programs.shape[1]):
            raise UserError(f"given a beginning of {length} codes, expected at most {room}: {program}")
        begun.append(spelled(texts, program.codes, length))
        reads.append((texts, editable.read(texts.documents(np.zeros(1, np.int64), [begun[-1]]))))
    (texts, base), (_, source) = reads
    if len(base.tokens[0]) != len(source.tokens[0]) or not len(begun[0]):
        raise UserError(
            f"given beginnings of {len(begun[0])} and {len(begun[1])} tokens, expected as many, at least one: "
            f"{programs[0]} and {programs[1]}"
        )
    subspace = None if basis is None else _checked(basis, width).to(editable.device)
    change = subspaces.interchange(subspace)
    if sham is not None:
        dimension = 1 if subspace is None else subspace.shape[1]
        generator = torch.Generator().manual_seed(layer + 1000 * sham)
        change = subspaces.sham(change, subspaces.random_basis(width, dimension, generator).to(editable.device))
    edit = Edit(layer, base.last, change)
    after = texts.next_codes(begun[0])
    cases = {"unedited": (base, None), "edited": (base, edit), "source": (source, None)}
    rows, written = {}, {}
    for name, (read, done) in cases.items():
        scores = read.next_codes(after, done, source)[0]
        rows[name] = as_series(after, scores.exp().cpu().numpy(), texts.encoding)
        codes = whole_programs(read.write(texts, done, source))[0]
        written[name] = Program(codes, checkpoint.study._language, job.section("programs").step_limit)
    now, then = base.edited(edit, source)[layer - 1][0, 0], base.streams()[layer - 1][0, 0]
    return Edited(pd.DataFrame(rows).T, written, float((now - then).norm() / then.norm()))


def _checked(basis: np.ndarray, width: int) -> torch.Tensor:
    """An orthonormal basis (C, d) as a tensor; a `UserError` for what is none."""
    given = np.asarray(basis, np.float32)
    if given.ndim != 2 or given.shape[0] != width or not 0 < given.shape[1] <= width:
        raise UserError(f"given a subspace of shape {given.shape}, expected ({width}, d), an orthonormal basis")
    if not np.allclose(given.T @ given, np.eye(given.shape[1]), atol=1e-3):
        raise UserError("given a subspace whose columns are not orthonormal; numpy.linalg.qr(...)[0] makes them so")
    return torch.from_numpy(given)

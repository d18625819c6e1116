"""Proposals of writers, judged: columns of proposals.arrow, which the stages `writers`, `synthesis` and
`pretrained` write.

A row is one of the different programs that a writer has proposed for a specification; columns stand in
`progsem.storage.columns`. Metadata: `writers`, a list of `Writer` as dictionaries; `test` and
`proposals`, how many specifications, and how many proposals were asked for at most; `references`, statements of the
specifications' own programs; seed and step of the language model, if there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from progsem.jobs.job import Job
from progsem.jobs.progress import Progress
from progsem.languages import LANGUAGE
from progsem.lm.traces import Specifications, satisfied
from progsem.storage.files import write_table
from progsem.synthesis.sampling import Proposals

_AT_ONCE = 100  # specifications that are judged together


@dataclass(frozen=True)
class Writer:
    """A way to propose programs.

    name: as in `synthesis.writers`; value: its temperature, share or width, or None; grammar: whether it is kept to it.
    independent: whether its proposals are drawn independently of each other; else they come in an order.
    """

    name: str
    value: float | None = None
    grammar: bool = True
    independent: bool = True

    @property
    def label(self) -> str:
        """What tells it from others."""
        value = "" if self.value is None else f" {self.value:g}"
        return f"{self.name}{value}{'' if self.grammar else ' without grammar'}"


Propose = Callable[[int], Proposals]  # for the specification with this number


def judge(job: Job, writers: dict[Writer, Propose], specifications: Specifications, what: str, **more) -> None:
    """Write what writers propose for specifications, judged, as a job's `proposals`; `more` is said in the metadata."""
    columns, seconds = judged(writers, specifications, job.section("programs").step_limit, what)
    metadata = about(list(writers), specifications, job.section("synthesis").samples)
    write_table(job.output("proposals"), columns, metadata | more, "proposals")
    job.notes["writer_seconds"] = {label: round(spent, 1) for label, spent in seconds.items()}


def judged(
    writers: dict[Writer, Propose], specifications: Specifications, step_limit: int, what: str
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Columns of proposals.arrow, and the seconds that each writer took, by its label."""
    parts, seconds = [], {}
    progress = Progress(what, len(writers) * len(specifications), "specifications")
    for number, (writer, propose) in enumerate(writers.items()):
        started = time.perf_counter()
        for first in range(0, len(specifications), _AT_ONCE):
            rows = range(first, min(first + _AT_ONCE, len(specifications)))
            proposed = [_distinct(propose(row)) for row in rows]
            parts.append(_rows(proposed, np.array(rows), specifications, step_limit, number))
            progress.update(len(rows))
        seconds[writer.label] = time.perf_counter() - started
    progress.close()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, seconds


def about(writers: list[Writer], specifications: Specifications, proposals: int) -> dict:
    """Metadata of proposals.arrow."""
    return {
        "writers": [asdict(writer) for writer in writers],
        "test": len(specifications),
        "proposals": proposals,
        "references": LANGUAGE.codes.is_action(specifications.programs).sum(axis=1).tolist(),
    }


def _distinct(proposals: Proposals) -> dict[str, np.ndarray]:
    """Different programs in the order in which they came, with the first of each and their number."""
    keys = np.concatenate([proposals.whole[:, None].astype(np.uint8), proposals.codes], axis=1)
    _, first, which, counts = np.unique(keys, axis=0, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    first = first[order]
    return {
        "first": first.astype(np.int32),
        "count": counts[order].astype(np.int32),
        "whole": proposals.whole[first],
        "codes": proposals.codes[first],
    }


def _rows(proposed: list[dict], rows: np.ndarray, specifications: Specifications, step_limit: int, writer: int) -> dict:
    columns = {name: np.concatenate([one[name] for one in proposed]) for name in proposed[0]}
    program = np.repeat(rows, [len(one["first"]) for one in proposed])
    worlds, outputs = (part.at(program) for part in (specifications.worlds, specifications.outputs))
    right = satisfied(columns["codes"], worlds, outputs, step_limit) & columns["whole"][:, None]
    return {
        "writer": np.full(len(program), writer, np.int8),
        "program": program.astype(np.int32),
        **columns,
        "shown": right[specifications.shown].all(axis=1),
        "held_out": right.all(axis=1),
        "statements": LANGUAGE.codes.is_action(columns["codes"]).sum(axis=1).astype(np.int16),
    }

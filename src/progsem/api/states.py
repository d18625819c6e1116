"""Hidden states with the program states that they are paired with, as arrays and frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from progsem.languages import LANGUAGE
from progsem.languages.labels import Head, spans
from progsem.probing.probes import DataSet, Traced
from progsem.study.vocabulary import SPLITS


@dataclass(frozen=True, eq=False)
class States:
    """Hidden states at statements of programs, with labels. Made by `Checkpoint.states`.

    y: a frame of labels with a row a state: a categorical column a head, called as the feature where that has one
    head, else FEATURE.HEAD. groups: (N,) int32, the program of each state, for splits that keep programs whole. rows:
    a frame with each state's `split`, `program`, `statement` (from 0), `position` (of its code) and whether it is the
    `final` statement. layer: which hidden states these are.
    """

    y: pd.DataFrame
    groups: np.ndarray
    rows: pd.DataFrame
    layer: str
    _table: np.ndarray
    _at: np.ndarray

    @cached_property
    def X(self) -> np.ndarray:
        """(N, C) float32: the hidden states, read from the disk when they are first asked for."""
        return self._table[self._at].astype(np.float32)

    def __len__(self) -> int:
        return len(self._at)

    def __repr__(self) -> str:
        width = self._table.shape[1]
        return f"States: X ({len(self)}, {width}) of {self.layer}, y {', '.join(self.y.columns)}"


def states_of(data: DataSet, traced: Traced, features: tuple[str, ...]) -> States:
    """Those of a data set of the stage `probes`."""
    rows = {
        "split": pd.Categorical.from_codes(data.states.split, list(SPLITS)),
        **{name: getattr(data, name) for name in ("program", "statement", "position", "final")},
    }
    classes = LANGUAGE.features.classes(features, traced.metadata)
    return States(
        y=as_classes(data.states.labels, traced.heads, classes),
        groups=data.program,
        rows=pd.DataFrame(rows),
        layer=traced.layer,
        _table=data.states.activations,
        _at=data.states.rows,
    )


def as_classes(labels: np.ndarray, heads: list[Head], classes: list[list[str]]) -> pd.DataFrame:
    """Labels (N, heads) as a frame, a categorical column a head, with the names of their classes."""
    columns = zip(named(heads), labels.T, classes, strict=True)
    return pd.DataFrame({name: pd.Categorical.from_codes(column, names) for name, column, names in columns})


def named(heads: list[Head]) -> list[str]:
    """What the columns of heads are called: as the feature where that has one, else FEATURE.HEAD."""
    alone = {feature for feature, span in spans(heads).items() if span.stop - span.start == 1}
    return [head.feature if head.feature in alone else f"{head.feature}.{head.name}" for head in heads]

"""What all sections of a config have in common, and the types of their values.

Nothing heavy is imported in this package: Snakemake reads the config every time it starts.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from progsem.study.vocabulary import LAST, LAYER, MEAN

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
HIDDEN_STATE = rf"^({MEAN}|{LAST}|{LAYER}(0|[1-9][0-9]?))$"
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
MODEL_TYPE = r"^[a-z0-9][a-z0-9_.-]{0,39}$"  # as `transformers` has them
STEP = r"^(0|[1-9][0-9]{0,5})$"
Name = Annotated[str, Field(pattern=NAME)]
Probability = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=16_384)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]  # more than this, torch does not take
Length = Annotated[int, Field(ge=1, le=60)]
Lengths = Annotated[tuple[Length, Length], Field(description="shortest and longest, inclusive")]
Offset = Annotated[int, Field(ge=-100, le=100)]
Position = Annotated[int, Field(ge=0, le=1000)]
Positions = Annotated[tuple[Position, Position], Field(description="first and last, inclusive")]


class Section(BaseModel):
    """A part of the config: unknown keys are refused, values are not coerced from text."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def each_once(key: str, values: tuple) -> None:
    """Refuse a list that has something twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"{key} {list(values)} repeat; give each once")

"""The study's configuration: the single source of truth of what is asked.

The JSON schema in `workflow/schemas/config.schema.json` and the table in `docs/config.md` are generated from it.
"""

from __future__ import annotations

from pydantic import Field, ValidationError, model_validator

from progsem.errors import UserError
from progsem.languages import LANGUAGE
from progsem.study.checks import check
from progsem.study.messages import one_line
from progsem.study.section import Name, Section
from progsem.study.sections import (
    LM,
    Compute,
    Controls,
    Corpus,
    Edits,
    Figures,
    Finetuning,
    Generalisation,
    Interventions,
    Probes,
    Statistics,
    Synthesis,
    Tokens,
    Traces,
    Variation,
)


class Study(Section):
    """A whole study. Sections are the stages, in order."""

    study: Name = Field("default", description="names the statistics folder and the figures' titles")
    worlds: LANGUAGE.config.Worlds = LANGUAGE.config.Worlds()
    programs: LANGUAGE.config.Programs = LANGUAGE.config.Programs()
    corpus: Corpus = Corpus()
    tokens: Tokens = Tokens()
    lm: LM = LM()
    traces: Traces = Traces()
    probes: Probes = Probes()
    interventions: Interventions = Interventions()
    controls: Controls = Controls()
    edits: Edits = Edits()
    generalisation: Generalisation = Generalisation()
    synthesis: Synthesis = Synthesis()
    finetuning: Finetuning = Finetuning()
    statistics: Statistics = Statistics()
    figures: Figures = Figures()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _possible(self):
        check(self)
        return self

    def varied(self, new: Variation) -> tuple[LANGUAGE.config.Worlds, tuple[int, int]]:
        """Worlds, and shortest and longest program, of a set of `generalisation.sets`."""
        shortest, longest = self.programs.train_length
        if new.statements > 0:
            shortest, longest = longest + 1, longest + new.statements
        elif new.statements < 0:
            shortest, longest = max(1, shortest + new.statements), shortest - 1
        return self.worlds.larger(new.cells), (shortest, longest)


def load(raw: dict) -> Study:
    """Validate a config read from YAML.

    Raises `UserError` with one line that names the key, what was given and what was expected.
    """
    try:
        return Study.model_validate(tuples(raw))
    except ValidationError as error:
        raise UserError(one_line(error, Study)) from None


def tuples(value):
    """YAML has lists where the types have tuples; strict validation wants the latter."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    return value

"""The study's configuration: the single source of truth of what is asked.

The JSON schema in `workflow/schemas/config.schema.json` and the table in `docs/config.md` are generated from it.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, create_model, model_validator

from progsem.errors import UserError
from progsem.languages import DEFAULT, NAMES, language
from progsem.study.checks import check
from progsem.study.configfiles import merge
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
    Transcoders,
    Variation,
)
from progsem.study.vocabulary import DECODERS, PLAIN_WRITERS

_OF_ALL = ("study", "language", "variants", "figures", "compute")  # keys that variants may not change


class Study(Section):
    """A whole study. Sections are the stages, in order; `study_type` puts in what a language has a say in."""

    study: Name = Field("default", description="names the statistics folder and the figures' titles")
    language: Literal[NAMES] = Field(DEFAULT, description="that programs are written in")
    worlds: Section
    programs: Section
    corpus: Corpus = Corpus()
    tokens: Tokens = Tokens()
    lm: LM = LM()
    traces: Traces = Traces()
    probes: Probes
    interventions: Interventions
    controls: Controls = Controls()
    edits: Edits
    transcoders: Transcoders = Transcoders()
    generalisation: Generalisation = Generalisation()
    synthesis: Synthesis
    finetuning: Finetuning = Finetuning()
    statistics: Statistics = Statistics()
    variants: dict[Name, dict[str, Any]] = Field(
        {},
        max_length=20,
        description="by name: what else is studied, as changes of this study's keys, and laid side by side",
    )
    figures: Figures = Figures()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _possible(self):
        check(self)
        variants(self)
        return self

    def varied(self, new: Variation) -> tuple[Section, tuple[int, int]]:
        """Worlds, and shortest and longest program, of a set of `generalisation.sets`."""
        shortest, longest = self.programs.train_length
        if new.statements > 0:
            shortest, longest = longest + 1, longest + new.statements
        elif new.statements < 0:
            shortest, longest = max(1, shortest + new.statements), shortest - 1
        return self.worlds.larger(new.cells), (shortest, longest)


@cache
def study_type(name: str) -> type[Study]:
    """The type of studies in the language of that name: what it calls its features, statements and writers."""
    known = language(name).config
    statement = Literal[known.ACTIONS]
    pairs = Annotated[int, Field(le=known.MOST_PAIRS)]
    sections = {
        "worlds": known.Worlds,
        "programs": known.Programs,
        "probes": _with(Probes, features=(tuple[Literal[known.FEATURES], ...], known.DEFAULT_FEATURES)),
        "interventions": _with(
            Interventions,
            alternatives=(dict[Name, dict[statement, statement]], known.ALTERNATIVES),
            difficulty_matched=(str, known.DIFFICULTY_MATCHED),
            permutations=(pairs, 0),
        ),
        "edits": _with(Edits, features=(tuple[Literal[known.OF_BEGINNINGS], ...], ()), permutations=(pairs, 0)),
        "synthesis": _with(Synthesis, writers=(tuple[Literal[(*PLAIN_WRITERS, *known.WRITERS, *DECODERS)], ...], ())),
    }
    return _with(Study, language=(Literal[NAMES], name), **{key: (kind, kind()) for key, kind in sections.items()})


def _with(section: type[Section], **fields: tuple[Any, Any]) -> type[Section]:
    """A section in which these fields have another type and default, and all else is as it was."""
    made = {}
    for key, (annotation, default) in fields.items():
        field = section.model_fields[key]
        for limit in field.metadata:
            annotation = Annotated[annotation, limit]
        made[key] = (annotation, Field(default, description=field.description))
    return create_model(section.__name__, __base__=section, __doc__=section.__doc__, **made)


def load(raw: dict) -> Study:
    """Validate a config read from YAML, over the defaults of its language.

    Raises `UserError` with one line that names the key, what was given and what was expected.
    """
    given = raw.get("language") if isinstance(raw, dict) else None
    name = given if given in NAMES else DEFAULT  # which refuses another
    kind = study_type(name)
    try:
        return kind.model_validate(tuples(merge(language(name).config.DEFAULTS, raw) if isinstance(raw, dict) else raw))
    except ValidationError as error:
        raise UserError(one_line(error, kind)) from None


def variants(study: Study) -> dict[str, Study]:
    """What a study compares, by name: itself with the changes of `variants`, each a study of that name.

    Raises ValueError for the first that is wrong.
    """
    given = study.model_dump(mode="json") | {"variants": {}}
    found = {}
    for name, changes in study.variants.items():
        for key in changes:
            if key in _OF_ALL:
                raise ValueError(f"variants.{name} has {key}, which all variants share; change it in the study itself")
        try:
            found[name] = load(merge(given, changes) | {"study": name})
        except UserError as error:
            raise ValueError(f"variants.{name}: {str(error).removeprefix('config: ')}") from None
    return found


def changed(config: dict, changes: dict) -> dict:
    """config.yaml with a study's changes; where it is about another language, that one's defaults come before them."""
    name = changes.get("language", config.get("language", DEFAULT))
    if name in NAMES and name != config.get("language", DEFAULT):
        kept = {key: value for key, value in config.items() if key not in ("worlds", "programs", "interventions")}
        kept["probes"] = {key: value for key, value in config.get("probes", {}).items() if key != "features"}
        config = merge(kept, language(name).config.DEFAULTS)
    return merge(config, changes)


def tuples(value):
    """YAML has lists where the types have tuples; strict validation wants the latter."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    return value

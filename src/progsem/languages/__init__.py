"""The programming languages that a study can be about, and what the rest of the package asks of one.

A language is a folder of this package. Outside of it nothing imports its modules by name: everything goes through a
`Language`, whose attributes are the modules of that folder which the seam names. They are imported
when they are first asked for, since some are heavy and Snakemake reads the config each time it starts. What plans
studies asks for `language(study.language)`, as there may be several. A job is about one study, so a stage asks for
`LANGUAGE`, that of the job; and one whose code says `LANGUAGE.sampling` has the language's `sampling` among its
sources (`progsem.storage.sources`), but not its `features`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules


class Language:
    """A programming language, by the name of its folder. A module of the folder is an attribute:

    config: the sections `Worlds` and `Programs`; names of statements (`ACTIONS`) and of what probes may be asked
        (`FEATURES`); other values than the config's own (`DEFAULTS`); `check(study)`, which refuses what the language
        does not have; bounds of numbers and sizes. Light: nothing is imported that takes time. In no digest of code.
    codes: programs as rows of small integers: `STATEMENTS`, how many codes are statements, the first ones; `PAD`,
        `ORIGINAL`, `semantics(mapping)`, `is_action`, `has_control_flow`, `most_codes`.
    permutations: `mirror_pairs`, `meaning`, `is_mirror_image`: other meanings of the statements, and mirror images.
    grammar: `GRAMMAR`, a `progsem.languages.grammar.Grammar` of the codes.
    sampling: `Sampler`, which draws specifications.
    reading: `program` and `example`, from text that a person writes, and `written`, a world or an output as such text.
        `worlds` of a program, as files give them; without that, `config.check` refuses `corpus.programs`.
    execution: `execute` and `trace` under a mapping; `WorldStates` and `ProgramStates`, the arrays that worlds and the
        states of programs are held in.
    columns: `INPUTS` and `OUTPUTS`, what the columns of tables mean that hold worlds.
    text: `ENCODINGS`, what specifications and programs look like to the language model; `glyphs`, `source`.
    features: `heads` and `labels`, what a probe is asked about a program state; `classes`, what its answers are called.
    writers: what the language has for writers without a model: `described`, a specification as categories, which
        regressions are told; `WRITERS` of its own by name, and `NAMED`, what they are called in figures; `REPORTED`,
        what others have published of writers: (low, high) shares by writer and value, and budget.
    gallery: what the gallery and the trace viewer show of a run.
    drawing: how they draw it; `of_world`, what `draw` is told of a world or an output alone.
    playground: `SCRIPT`, by which the playground runs programs and draws worlds, and `told`, what that is told.
    """

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, topic: str):
        try:
            module = import_module(f"{__name__}.{self.name}.{topic}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"the language {self.name} has no {topic}") from error
        setattr(self, topic, module)
        return module

    def use(self, name: str) -> None:
        """Be another language from now on."""
        self.__dict__.clear()
        self.name = name


NAMES = tuple(sorted(module.name for module in iter_modules(__path__) if module.ispkg))
DEFAULT = "karel"  # of a study that names none
LANGUAGE = Language(DEFAULT)


@cache
def language(name: str) -> Language:
    """The language of that name, whatever the job's is."""
    return Language(name)

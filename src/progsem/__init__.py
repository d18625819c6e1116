"""progsem: does a language model that writes programs understand what they do?

A Snakemake workflow and the package behind it: sampled programs, a transformer
trained on them from random initialisation, probes that read program states out
of its hidden states, and interventions on what the statements mean.

`open_study` is the way in from Python. What `__all__` lists is public, with what docs/python.md says of it: its names
and what they return stay while the first number of `__version__` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from progsem.api.checkpoint import Checkpoint
    from progsem.api.edited import Edited
    from progsem.api.pictures import Example, Execution, Program, World
    from progsem.api.probe import Probe
    from progsem.api.states import States
    from progsem.api.study import Study, open_study
    from progsem.api.writing import Writing
    from progsem.errors import UserError

__version__ = "1.0.0"
__all__ = [
    "Checkpoint",
    "Edited",
    "Example",
    "Execution",
    "Probe",
    "Program",
    "States",
    "Study",
    "UserError",
    "World",
    "Writing",
    "open_study",
]
_MODULES = {
    "Checkpoint": "api.checkpoint",
    "Edited": "api.edited",
    "Example": "api.pictures",
    "Execution": "api.pictures",
    "Probe": "api.probe",
    "Program": "api.pictures",
    "States": "api.states",
    "Study": "api.study",
    "UserError": "errors",
    "World": "api.pictures",
    "Writing": "api.writing",
    "open_study": "api.study",
}


def __getattr__(name: str):
    """What is public, imported when it is first asked for: Snakemake imports this package each time it plans."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

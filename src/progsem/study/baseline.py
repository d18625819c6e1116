"""What of a config names a result: what is said beyond a recorded baseline.

`baseline.json` has a value for every key of the config, by its dotted name. A key that has this value is left out
of the digests that name results, any other value is in them. So

- a key that is added is recorded with its default, by `make schema`: results that were made before there was such
  a key keep their names, and must be what the default gives;
- a default that is changed renames what it changes, because what is recorded stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from progsem.languages import DEFAULT
from progsem.study.config import study_type
from progsem.study.section import Section

FILE = Path(__file__).with_suffix(".json")


@cache
def recorded() -> dict:
    """The baseline: values as JSON has them, by dotted names of keys."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def beyond_baseline(values: dict, kind: type[Section], at: str = "") -> dict:
    """Of values of a section's keys (as JSON has them) those that are not the baseline's; what is no key stays.

    A key that has not been recorded yet counts with its default.
    """
    said = {}
    for key, value in values.items():
        name, field = f"{at}{key}", kind.model_fields.get(key)
        if field is None:
            said[key] = value
        elif _is_section(field.annotation):
            inner = beyond_baseline(value, field.annotation, f"{name}.")
            said |= {key: inner} if inner else {}
        elif value != (recorded()[name] if name in recorded() else _defaults(kind)[key]):
            said[key] = value
    return said


def _defaults(kind: type[Section]) -> dict:
    """Of every key; not all languages have a study of defaults alone."""
    return kind.model_construct().model_dump(mode="json")


def baseline_text() -> str:
    """The baseline with a line for each key of the config: as recorded or, for a new one, its default."""
    kind = study_type(DEFAULT)
    defaults = dict(_flat(kind, _defaults(kind)))
    return json.dumps({name: recorded().get(name, value) for name, value in defaults.items()}, indent=1) + "\n"


def _flat(kind: type[Section], values: dict, at: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        annotation = kind.model_fields[key].annotation
        if _is_section(annotation):
            yield from _flat(annotation, value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _is_section(annotation) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)

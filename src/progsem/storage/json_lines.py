"""Lines of JSON that users give: what is wrong with one, in a few words."""

from __future__ import annotations

import json

from progsem.errors import UserError

_KINDS = {str: "text", list: "a list"}


def value_of(line: str):
    """The JSON value on a line."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"column {error.colno}: not JSON ({error.msg}); expected an object on one line") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON that can be read ({error})") from None


def member(value: object, name: str, key: str, *kinds: type):
    """A member of a JSON object, of one of the given types; `name` is what the object is called."""
    expected = " or ".join(_KINDS[kind] for kind in kinds)
    prefix = f"{name}: " if name else ""
    if not isinstance(value, dict):
        raise UserError(f"{prefix}given {kind_of(value)}, expected an object with {key!r}")
    if key not in value:
        raise UserError(f"{prefix}{key!r} is missing; expected {expected}")
    if not isinstance(value[key], kinds):
        raise UserError(f"{prefix}{key!r} is {kind_of(value[key])}, expected {expected}")
    return value[key]


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", bool: "a truth value", type(None): "null"} | _KINDS
    return names.get(type(value), "a number")

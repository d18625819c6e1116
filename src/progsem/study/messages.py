"""What is wrong with a config, in one line: pydantic's errors in words of YAML."""

from __future__ import annotations

import difflib
import math

from pydantic import BaseModel, ValidationError

from progsem.study.section import HIDDEN_STATE, MODEL_TYPE, NAME, ONE_LINE, STEP


def one_line(error: ValidationError, config: type[BaseModel]) -> str:
    """The first problem that a config's type has with a value, as: config: KEY: given, expected, what to do."""
    problem = error.errors()[0]
    kind, location = problem["type"], [part for part in problem["loc"] if part != "[key]"]
    if kind == "value_error":  # says its keys itself
        return f"config: {problem['ctx']['error']}"
    if kind == "missing":  # an item of a list: the list is too short
        location = location[:-1]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in location).lstrip(".")
    if kind == "extra_forbidden":
        known = _known_keys(config, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known) or 'none'}"
        return f"config: {where}: unknown key; {hint}"
    return f"config: {where or 'the whole'}: given {shown(problem['input'])}, expected {_expected(problem)}"


def _known_keys(config: type[BaseModel], location: list) -> list[str]:
    model = config
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))


_PATTERNS = {
    NAME: "1 to 40 of the characters A-Z a-z 0-9 _ -, the first a letter or a digit",
    HIDDEN_STATE: "mean, last, or layer_0, layer_1, … up to layer_99",
    MODEL_TYPE: "what transformers calls an architecture: codegen, gpt2, gpt_neox, llama, mamba and the like",
    STEP: "a step from 0 to 999999 in digits",
    ONE_LINE: "one line of text, without control characters",
}
# By pydantic's types of errors, what it expected in words of YAML; in braces, values of the error's context.
_EXPECTED = {
    "string_type": "text; put it in quotes",
    "string_too_long": "at most {max_length} characters",
    "string_unicode": "text of whole Unicode characters",
    "bool_type": "true or false",
    "int_type": "an integer, written without a point or exponent",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "too_short": "a list of {min_length}",
    "too_long": "at most {max_length} of them",
    "invalid_key": "a key that is text",
}


def _expected(problem: dict) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _PATTERNS[context["pattern"]]
    if kind == "missing":
        return f"a list of {problem['loc'][-1] + 1} or more"
    if kind == "too_short" and context["min_length"] == 1:
        return "a list of at least 1"
    return _EXPECTED.get(kind, problem["msg"].removeprefix("Input should be ").replace("{", "{{")).format(**context)


def _key(part: str) -> str:
    """A key as it is, or in quotes where it could be mistaken for something else."""
    return part if part.isidentifier() or part.replace("-", "_").isidentifier() else shown(part)


def shown(value) -> str:
    """A value from the config on one line, cut short where it is long."""
    if isinstance(value, dict | BaseModel):
        return "a mapping"
    if isinstance(value, tuple):
        return f"[{', '.join(shown(item) for item in value[:8])}{', …' if len(value) > 8 else ''}]"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of about {round(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, str) and len(value) > 60:
        return f"{value[:60]!r}… ({len(value)} characters)"
    return ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)

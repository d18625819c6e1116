"""A model of `transformers` that somebody has trained already (`lm.pretrained`): which files of its folder count.

What names results is what these files hold, not where the folder is or what it is called.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from progsem.errors import UserError
from progsem.storage.files import file_digest
from progsem.study.section import NAME

_WEIGHTS = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)")
_OF_MODEL = re.compile(rf"config\.json|generation_config\.json|{_WEIGHTS.pattern}\.index\.json")
_OF_TOKENIZER = (".json", ".txt", ".model", ".spm", ".codes", ".jinja")  # how names of all other files end that count
_OURS = "manifest.json"  # in a folder of results/, which may be given as well


class Files(NamedTuple):
    """Those of a folder that a model is made of: `kind` is what `transformers` calls its type."""

    kind: str
    config: list[Path]
    weights: list[Path]
    tokenizer: list[Path]

    @property
    def name(self) -> str:
        """What a person tells its results by: the type, and how large the weights are."""
        return f"{self.kind}-{-(-sum(path.stat().st_size for path in self.weights) // 10**6)}MB"


def model_files(folder: str, refusal: Callable[[str, str], UserError]) -> Files:
    """What stands in a folder; where that is no model, what `refusal` makes of it and of the problem is raised."""
    place = Path(folder)
    try:
        here = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else []
    except OSError as error:
        raise refusal(folder, f"which cannot be read ({error.strerror})") from None
    config = [path for path in here if _OF_MODEL.fullmatch(path.name)]
    weights = [path for path in here if _WEIGHTS.fullmatch(path.name)]
    others = [path for path in here if path.suffix in _OF_TOKENIZER and path not in config and path.name != _OURS]
    lacks = {
        f"a relative path; did you mean {str(place.absolute())!r}?": place.is_absolute(),
        "no such folder": place.is_dir(),
        "no config.json there": place / "config.json" in config,
        "no weights (model.safetensors) there": weights,
    }
    lacks |= {f"whose {path.name} cannot be read": os.access(path, os.R_OK) for path in (*config, *weights, *others)}
    for problem, there in lacks.items():
        if not there:
            raise refusal(folder, problem)
    return Files(_kind(place, refusal), config, weights, others)


def files(folder: str) -> Files:
    """What stands in a folder; a `UserError` where that is no model with a tokenizer. Nothing heavy is read."""
    found = model_files(folder, refusal)
    names = [path for path in found.tokenizer if path.suffix in (".model", ".spm")]
    if not names and not any("token" in path.name or "vocab" in path.name for path in found.tokenizer):
        raise refusal(folder, "no tokenizer (tokenizer_config.json or the like) there")
    return found


def refusal(folder: str | Path, problem: str) -> UserError:
    """What to raise where a folder is not what is needed."""
    return UserError(
        f"lm.pretrained: given {str(folder)!r}, {problem}; expected a folder with a causal or sequence-to-sequence "
        "model of transformers and its tokenizer, as save_pretrained writes them; name another, or leave it empty"
    )


def checksums(folder: str) -> dict[str, str]:
    """SHA-256 by name of all files that count."""
    found = files(folder)
    return {path.name: file_digest(path) for paths in found[1:] for path in paths}


def _kind(place: Path, refusal: Callable[[str, str], UserError]) -> str:
    try:
        kind = json.loads((place / "config.json").read_bytes())["model_type"]
        if re.fullmatch(NAME, kind):
            return kind
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise refusal(str(place), "whose config.json has no model_type")

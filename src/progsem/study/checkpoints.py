"""Checkpoints from elsewhere (`lm.checkpoints`): which files of their folders count.

What names results is what these files hold, not where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from progsem.errors import UserError
from progsem.storage.files import file_digest
from progsem.study import pretrained

if TYPE_CHECKING:
    from progsem.study.sections import LM

SEED = "{seed}"  # in a folder's name: the language model's number


def folders(lm: LM) -> dict[tuple[int, int], str]:
    """The folder of every checkpoint, by the language model's seed and step."""
    return {
        (seed, int(step)): folder.replace(SEED, str(seed))
        for seed in lm.seeds
        for step, folder in lm.checkpoints.items()
    }


def refusal(folder: str | Path, problem: str) -> UserError:
    """What to raise where a folder is not what is needed."""
    return UserError(
        f"lm.checkpoints: given {str(folder)!r}, {problem}; expected a folder with a causal language model of "
        "transformers, as save_pretrained writes it, that was trained on the study's tokens"
    )


def files(folder: str | Path) -> list[Path]:
    """Config and weights of a folder, which are what counts; a `UserError` where there are none."""
    found = pretrained.standing_in_absolute(str(folder), refusal, tokenizer=False)
    return [*found.config, *found.weights]


def checksums(folder: str | Path) -> dict[str, str]:
    """SHA-256 by name of all files that count."""
    return {path.name: file_digest(path) for path in files(folder)}

"""Compiled kernels, which numba keeps beside the sources: none outlives what it was made from.

Numba compiles a kernel again when the file changes that it stands in, but not when a
file does that it takes constants or functions from. So a digest of all these files
is kept beside the kernels, and where it is another one, they are deleted. Where no
folder for them can be written, they are compiled by each process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import progsem
from progsem.jobs.progress import say
from progsem.storage.files import canonical_json
from progsem.storage.sources import said_by

_PACKAGE = Path(progsem.__file__).parent


def njit(cache: bool = False, **options) -> Callable:
    """A decorator: numba's `njit`, but without its cache where that has no folder that can be written."""
    import numba

    def compiled(function: Callable) -> Callable:
        try:
            return numba.njit(cache=cache, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            _say_that_nothing_is_kept()
            return numba.njit(**options)(function)

    return compiled


@functools.cache
def _say_that_nothing_is_kept() -> None:
    say("progsem: no folder for compiled kernels can be written, so they are compiled anew; NUMBA_CACHE_DIR names one")


def forget_outdated() -> None:
    """Delete the kernels in the package's folders if they were made from other sources than those there now.

    To be called before a module with kernels is imported. A folder that cannot be written to is left as it
    is: numba then keeps kernels elsewhere, by the path of their source, or nowhere.
    """
    files = {name: said for module in _with_kernels() for name, said in said_by(module).items()}
    sources = hashlib.sha256(canonical_json(files).encode()).hexdigest()
    stamp = _PACKAGE / "__pycache__" / "kernels.sha256"
    with contextlib.suppress(OSError):
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == sources:
            return
        for kernel in _PACKAGE.rglob("__pycache__/*.nb[ci]"):
            kernel.unlink(missing_ok=True)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(sources, encoding="utf-8")


def _with_kernels() -> list[str]:
    """Names of the modules that numba compiles parts of."""
    found = (
        path for path in _PACKAGE.rglob("*.py") if b"\nfrom progsem.jobs.compiled import njit" in path.read_bytes()
    )
    return [".".join(("progsem", *path.relative_to(_PACKAGE).with_suffix("").parts)) for path in found]

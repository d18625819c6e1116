"""Files that a reader never sees half of: atomic writes, Arrow tables, digests.

An Arrow shard is an IPC file whose matrix columns are fixed-size lists, so that
a memory-mapped column is a NumPy array without a copy.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progsem.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

WRITERS = 2  # threads of a job that wait for the disk, beside those that compute
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a write fails with midway


def canonical_json(value) -> str:
    """JSON with sorted keys and no white space: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value) -> str:
    """Eight hexadecimal digits that name a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block has succeeded.

    A disk that is full or read-only is a `UserError`, with nothing left behind.
    """
    path = Path(path)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _to_disk(temporary)
            temporary.replace(path)
            _to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def filling(folder: Path, put: Callable[[Path, Path], None]) -> Iterator[Path]:
    """A temporary folder beside `folder`: it takes that name on success or, where there is one, `put(new, folder)`."""
    folder = Path(folder)
    with _writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix(folder)))
        try:
            new = temporary / "new"
            new.mkdir()
            yield new
            for path in [*new.rglob("*"), new]:
                _to_disk(path)
            if os.path.lexists(folder):
                put(new, folder)
                _to_disk(folder)
            else:
                new.rename(folder)
            _to_disk(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def clear_leftovers(path: Path) -> None:
    """Delete temporaries that a killed process left beside `path` when it was to be written."""
    for leftover in path.parent.glob(f"{_prefix(path)}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # then what is written next says what is wrong
                leftover.unlink()


def _prefix(path: Path) -> str:
    """How names of temporaries for `path` begin."""
    return f".{path.name}."


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first = disk_error(error)
        if first is None:
            raise
        # By its number, because libraries put sentences of their own around the system's.
        reason = os.strerror(first.errno) if first.errno else str(first).splitlines()[0]
        raise UserError(
            f"{path}: cannot be written ({reason}); make room or give access, and run again: what was there is whole"
        ) from None


def disk_error(error: BaseException) -> OSError | None:
    """The `OSError` that an exception is or comes from: the first one counts; None if there is none.

    Where a disk is full, a library that closes its file on the way out often raises something else.
    """
    found = error if isinstance(error, OSError) else None
    while error := error.__context__:
        if isinstance(error, OSError) and error.errno in _DISK:
            found = error
    return found


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON; NaN is refused."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path):
    """Read JSON; a damaged file is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); delete it and run again") from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a header and rows, in the order of `columns`; None becomes an empty field."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table, texts by column; a damaged file is a `UserError` that names it."""
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle, strict=True)
            rows = list(reader)
        if reader.fieldnames is None:
            raise ValueError("it is empty")
    except (OSError, ValueError, csv.Error) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a table ({reason}); delete it and run again") from None
    for number, row in enumerate(rows, start=2):
        # DictReader's marks of a row that is too long or too short.
        if None in row or None in row.values():
            raise UserError(f"{path}: row {number} has not as many fields as the header; delete it and run again")
    return rows


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name as safetensors, with texts by name as metadata."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(str(error)) from None


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read tensors by name, on the CPU, and the metadata; a damaged file is a `UserError` that names it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable safetensors file ({reason}); delete it and run again") from None


def matrix(array: np.ndarray) -> pa.FixedSizeListArray:
    """An (N, K) array as an Arrow column of N lists of length K, without a copy."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(_column(array.reshape(-1)), array.shape[1])


def write_table(path: Path, columns: dict, metadata: dict | None = None, table: str | None = None) -> None:
    """Write columns as one Arrow IPC file.

    `columns` maps names to NumPy arrays of shape (N,) or (N, K); (N, K) becomes
    fixed-size lists. `metadata` is kept as JSON under the schema key `progsem`. `table` is
    the name by which `progsem.storage.columns` knows what stands in each column: each
    field has that as its metadata. Raises `KeyError` for a column that is not known there.
    """
    import pyarrow as pa

    from progsem.storage.columns import described

    fields, arrays = [], []
    for name, value in columns.items():
        arrays.append(matrix(value) if getattr(value, "ndim", 1) == 2 else _column(value))
        about = described(table, name) if table else None
        said = {"description": about.meaning, "unit": about.unit} if about else None
        fields.append(pa.field(name, arrays[-1].type, metadata=said))
    schema = pa.schema(fields, {"progsem": canonical_json(metadata or {})})
    with replacing(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(pa.table(arrays, schema))


def read_table(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Memory-map an Arrow file: its columns as arrays of shape (N,) or (N, K), and its metadata."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate()
        metadata = _metadata(table.schema)
        columns = {name: _to_numpy(table.column(name)) for name in table.column_names}
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _unreadable(path, error) from None
    return columns, metadata


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{path}: not a readable Arrow file ({reason}); delete it and run again")


def _metadata(schema: pa.Schema) -> dict:
    return json.loads((schema.metadata or {}).get(b"progsem", b"{}"))


def read_metadata(path: Path) -> dict:
    """The metadata of an Arrow file, without its columns."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            schema = pa.ipc.open_file(source).schema
        return _metadata(schema)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _unreadable(path, error) from None


def read_tables(paths: list[Path]) -> tuple[dict[str, np.ndarray], dict]:
    """The rows of several shards in order, and the metadata of the first."""
    import numpy as np

    tables = [read_table(path) for path in paths]
    if len(tables) == 1:
        return tables[0]
    names = tables[0][0]
    return {name: np.concatenate([columns[name] for columns, _ in tables]) for name in names}, tables[0][1]


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    import pyarrow as pa

    # A single chunk, as files of this package have it, stays mapped; to combine it would copy it.
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_fixed_size_list(array.type):
        return _values(array.flatten()).reshape(len(array), array.type.list_size)
    return _values(array)


# pyarrow's own conversions from and to NumPy import pandas, which takes longer than many a job:
# numbers and truth values go through the buffers.


def _column(values) -> pa.Array:
    """One column of a table, from an array (N,) or a list."""
    import numpy as np
    import pyarrow as pa

    kind = getattr(values, "dtype", np.dtype(object)).kind
    if kind == "b":
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    if kind in "iuf":
        buffer = pa.py_buffer(np.ascontiguousarray(values))
        return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])
    return pa.array(values)


def _values(array: pa.Array) -> np.ndarray:
    """A column without nulls as an array (N,); numbers without a copy."""
    import numpy as np
    import pyarrow as pa

    kind, start, stop = array.type, array.offset, array.offset + len(array)
    if len(array) and pa.types.is_boolean(kind):
        bits = np.frombuffer(array.buffers()[1], np.uint8)
        return np.unpackbits(bits, count=stop, bitorder="little")[start:].astype(bool)
    if len(array) and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return np.frombuffer(array.buffers()[1], kind.to_pandas_dtype())[start:stop]
    return array.to_numpy(zero_copy_only=False)

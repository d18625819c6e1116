"""Files that a reader never sees half of: atomic writes, Arrow tables, digests.

An Arrow shard is an IPC file whose matrix columns are fixed-size lists, so that
a memory-mapped column is a NumPy array without a copy.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from progsem.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def canonical_json(value) -> str:
    """JSON with sorted keys and no white space: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value) -> str:
    """Eight hexadecimal digits that name a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block has succeeded."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON; NaN is refused."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path):
    """Read JSON; a damaged file is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); delete it and run again") from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a header and rows, in the order of `columns`; None becomes an empty field."""
    with replacing(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def matrix(array: np.ndarray) -> pa.FixedSizeListArray:
    """An (N, K) array as an Arrow column of N lists of length K, without a copy."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(_column(array.reshape(-1)), array.shape[1])


def write_table(path: Path, columns: dict, metadata: dict | None = None) -> None:
    """Write columns as one Arrow IPC file.

    `columns` maps names to NumPy arrays of shape (N,) or (N, K); (N, K) becomes
    fixed-size lists. `metadata` is kept as JSON under the schema key `progsem`.
    """
    import pyarrow as pa

    arrays = {
        name: matrix(value) if getattr(value, "ndim", 1) == 2 else _column(value) for name, value in columns.items()
    }
    table = pa.table(arrays).replace_schema_metadata({"progsem": canonical_json(metadata or {})})
    with replacing(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def read_table(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Memory-map an Arrow file: its columns as arrays of shape (N,) or (N, K), and its metadata."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        metadata = json.loads((table.schema.metadata or {}).get(b"progsem", b"{}"))
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable Arrow file ({reason}); delete it and run again") from None
    return {name: _to_numpy(table.column(name)) for name in table.column_names}, metadata


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

    array = column.combine_chunks()
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

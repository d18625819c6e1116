"""Arrow tables give back what was written, without importing pandas."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from progsem.errors import UserError
from progsem.storage.files import read_table, read_tables, write_table

DTYPES = ("bool", "uint8", "int8", "int16", "uint16", "int32", "int64", "float16", "float32", "float64")


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_round_trip(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("table") / "table.arrow"
    rows = data.draw(st.integers(0, 20))
    columns = {}
    for name in "abc":
        shape = data.draw(st.sampled_from([(rows,), (rows, 1), (rows, 3)]))
        columns[name] = data.draw(arrays.arrays(data.draw(st.sampled_from(DTYPES)), shape))
    write_table(path, columns, {"height": 4})
    got, metadata = read_table(path)
    assert metadata == {"height": 4} and list(got) == list(columns)
    for name, column in columns.items():
        assert got[name].dtype == column.dtype and got[name].shape == column.shape
        assert np.array_equal(got[name].view(np.uint8), column.view(np.uint8))


def test_views_are_written_as_they_look(tmp_path):
    numbers = np.arange(24).reshape(4, 6)
    write_table(tmp_path / "a.arrow", {"matrix": numbers[:, ::2], "vector": numbers[:, 1], "bits": numbers[:, 1] > 7})
    columns, _ = read_table(tmp_path / "a.arrow")
    assert columns["matrix"].tolist() == numbers[:, ::2].tolist()
    assert columns["vector"].tolist() == [1, 7, 13, 19]
    assert columns["bits"].tolist() == [False, False, True, True]


def test_shards_are_joined_in_order(tmp_path):
    paths = [tmp_path / f"{index}.arrow" for index in range(3)]
    for index, path in enumerate(paths):
        write_table(path, {"number": np.full(2, index), "odd": np.full(2, index % 2 == 1)})
    columns, _ = read_tables(paths)
    assert columns["number"].tolist() == [0, 0, 1, 1, 2, 2]
    assert columns["odd"].tolist() == [False, False, True, True, False, False]


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "broken.arrow"
    path.write_bytes(b"not an Arrow file")
    with pytest.raises(UserError, match="broken.arrow"):
        read_table(path)


def test_pandas_is_not_imported(tmp_path):
    code = (
        "import sys, numpy as np; from progsem.storage.files import read_table, write_table; "
        "write_table(sys.argv[1], {'a': np.ones((3, 2)), 'b': np.zeros(3, bool)}); read_table(sys.argv[1]); "
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.arrow")]).returncode == 0

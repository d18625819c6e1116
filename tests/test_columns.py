"""What stands in the columns of Arrow tables: said in every file of a study, and of nothing that is not there."""

import re

import numpy as np
import pyarrow as pa
import pytest

from progsem.languages import language
from progsem.storage.columns import TABLES, columns
from progsem.storage.files import read_table, write_table

PARTS = {"NAME": "[^/]+", "CHECKPOINT": r"seed-\d+/step-\d{6}", "SPLIT": "[a-z]+", "NNNNN": r"\d{5}"}


def schemas(finished) -> dict[str, dict[str, pa.Schema]]:
    """The schemas of the tiny study's Arrow files, by table and path; each is where docs/tables.md says."""
    found: dict = {name: {} for name in TABLES}
    patterns = {
        re.sub("|".join(PARTS), lambda part: PARTS[part[0]], path): name
        for name, table in TABLES.items()
        for path in table.files
    }
    for path in sorted((finished / "results").rglob("*.arrow")):
        place = path.relative_to(finished / "results").as_posix()
        (name,) = [name for pattern, name in patterns.items() if re.fullmatch(pattern, place)]
        found[name][place] = pa.ipc.open_file(path).schema
    return found


def test_every_column_of_the_tiny_study_is_described(finished):
    for name, files in schemas(finished).items():
        assert files, f"the tiny study has no {name}"
        for place, schema in files.items():
            for field in schema:
                assert field.metadata and field.metadata[b"description"], f"{place}: {field.name}"
                assert field.metadata[b"unit"], f"{place}: {field.name}"


def test_no_column_is_described_that_no_table_has(finished):
    for name, files in schemas(finished).items():
        meant = {field.metadata[b"description"].decode() for schema in files.values() for field in schema}
        assert {about.meaning for about in columns(name).values()} == meant


def test_languages_say_what_columns_with_worlds_hold():
    karel, rectangles = language("karel"), language("rectangles")
    worlds = karel.execution.WorldStates(np.zeros((1, 1, 2, 2), np.uint8), np.zeros((1, 1, 3), np.uint8))
    assert set(karel.columns.INPUTS) == set(karel.columns.OUTPUTS) == set(worlds.columns())
    points = np.zeros((1, 1, 3, 2), np.uint8)
    assert set(rectangles.columns.INPUTS) == set(rectangles.execution.Points(points).columns())
    assert set(rectangles.columns.OUTPUTS) == set(rectangles.execution.Sides(points, points[..., 0]).columns())


def test_a_column_that_nobody_has_described_is_refused(tmp_path):
    with pytest.raises(KeyError, match="lengths is no column of the table tokens"):
        write_table(tmp_path / "some.arrow", {"lengths": np.zeros(3, np.uint16)}, {}, "tokens")
    assert not [*tmp_path.iterdir()]


def test_files_without_descriptions_are_read(tmp_path):
    """As earlier versions have written them."""
    values = {"tokens": np.arange(6, dtype=np.uint8).reshape(3, 2), "length": np.array([2, 1, 2], np.uint16)}
    for table in (None, "tokens"):
        write_table(tmp_path / "some.arrow", values, {"pad": 0}, table)
        read, metadata = read_table(tmp_path / "some.arrow")
        assert metadata == {"pad": 0}
        for name, array in values.items():
            np.testing.assert_array_equal(read[name], array)

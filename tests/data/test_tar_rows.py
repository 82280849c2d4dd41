"""Rows of tars without an index are those that their index has."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tinygptv.data.index import RecordIndex
from tinygptv.data.records import TASKS
from tinygptv.data.summary import TEST, tars
from tinygptv.data.tar_rows import TarRows, split_rows
from tinygptv.data.views import write_views
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import view_of


@pytest.fixture
def rows(small_shards):
    return TarRows("easy_vqa", tars(small_shards, TEST))


def test_they_are_those_of_the_index(rows, small_shards):
    index = RecordIndex(small_shards / "test.arrow")
    assert len(rows) == len(index) > 100
    assert [rows.rows(task) for task in TASKS] == [index.rows(task) for task in TASKS]
    every = range(len(rows))
    for name in ("turns", "crc32", "image"):
        mine, theirs = (np.concatenate(list(of.column(name, every))) for of in (rows, index))
        assert np.array_equal(mine, theirs) and mine.dtype == theirs.dtype
    for row in (0, len(rows) // 2, len(rows) - 1):
        assert rows.record(row) == index.record(row)
        assert rows.image_bytes(row) == index.image_bytes(row)


def test_an_image_that_is_another_one_is_found(rows, small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "easy_vqa")
    (path, *_) = tars(tmp_path / "easy_vqa", TEST)
    copied = TarRows("easy_vqa", [path])
    content = bytearray(path.read_bytes())
    content[content.index(copied.image_bytes(0)) + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name}: the image of .* is another one"):
        copied.image_bytes(0)


def test_a_folder_with_views_is_read_by_its_index(small_shards, smoke, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(small_shards, folder / "easy_vqa")
    assert {name: type(of) for name, of in split_rows(folder, "evaluate", "test", ["easy_vqa", "cats"]).items()} == {
        "easy_vqa": TarRows
    }
    write_views(folder, smoke)
    assert (folder / view_of("evaluate")).is_file()
    assert isinstance(split_rows(folder, "evaluate", "test", ["easy_vqa", "cats"])["easy_vqa"], RecordIndex)
    assert split_rows(folder, "evaluate", "test", []) == {}

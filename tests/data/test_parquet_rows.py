"""Parquet files row by row: what cannot be read is a row with a reason, or one line about the file."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinygptv.data.parquet_rows import BATCH, column_names, read_parquet
from tinygptv.ground.errors import DataError

ROWS = [{"id": number, "image": {"bytes": b"%d" % number, "path": None}, "other": 1.5} for number in range(3 * BATCH)]


@pytest.fixture
def path(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet", row_group_size=BATCH + 1)
    return tmp_path / "a.parquet"


def test_rows_come_in_order_with_the_columns_that_were_asked_for(path):
    assert column_names(path) == ["id", "image", "other"]
    items = list(read_parquet(path, ["image", "id", "none"]))
    assert [item.content for item in items] == [{"id": row["id"], "image": row["image"]} for row in ROWS]
    assert (items[0].place, items[-1].place) == ("a.parquet, row 1", f"a.parquet, row {3 * BATCH}")


def test_text_that_is_no_utf8_is_a_row_with_a_reason(tmp_path):
    broken = pa.array([b"good", b"\xff\xfe", b"good"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    first, second, third = read_parquet(tmp_path / "a.parquet", ["text"])
    assert (first.content, third.content) == ({"text": "good"}, {"text": "good"})
    assert "write text as UTF-8" in second.problem


def test_a_damaged_file_is_one_line(path):
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", b"PAR1" + content[4:400], content[:-30], content[:60] + bytes(90) + content[150:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.parquet is damaged or no parquet \(.+\); get it again") as raised:
            list(read_parquet(path, ["id", "image"]))
        assert "\n" not in str(raised.value)


def test_a_file_that_is_gone_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        column_names(tmp_path / "none.parquet")

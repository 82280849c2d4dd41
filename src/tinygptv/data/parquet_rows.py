"""Rows of parquet files of any size: a few are in memory, also where a file is one row group of many pictures.

pyarrow reads them; Hugging Face's `datasets`, which writes such files, is not needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.json_items import JsonItem
from tinygptv.ground.errors import DataError, brief

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

PARQUET = ".parquet"
"""How their names end."""
BATCH = 16
"""Rows in memory."""
_BUFFER = 1 << 20
"""Bytes of a column that are read at once; without it a whole column of a row group would be."""


def column_names(path: Path) -> list[str]:
    """Names of a file's columns.

    Raises:
        DataError: it is damaged or no parquet.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_parquet(path: Path, columns: Collection[str]) -> Iterator[JsonItem]:
    """The rows of a file, in its order, each an object; the place of the first is ``train-00000.parquet, row 1``.

    Args:
        path: the file.
        columns: those that are read; one of another name is left out.

    Raises:
        DataError: it is damaged.
    """
    number = 0
    with _opened(path) as file:
        there = [name for name in file.schema_arrow.names if name in columns]
        for batch in file.iter_batches(BATCH, columns=there):
            for row in range(batch.num_rows):
                number += 1
                place = f"{path.name}, row {number}"
                try:
                    yield JsonItem(place, {name: batch.column(name)[row].as_py() for name in there})
                except (UnicodeDecodeError, ValueError, OverflowError) as error:
                    yield JsonItem(place, None, f"cannot be read ({brief(error)}); write text as UTF-8")


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    """A file, for the block.

    Raises:
        DataError: it is damaged, which may show only when its rows are read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{path} is damaged or no parquet ({brief(error)}); get it again, or write it anew") from None

"""Small pictures as bytes, and files that hold them."""

from __future__ import annotations

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(number=0, kind="PNG", size=(8, 8)):
    """The bytes of a small picture, another one for each number."""
    file = io.BytesIO()
    Image.new("RGB", size, (number, 0, 0)).save(file, kind)
    return file.getvalue()


def write_parquet(path, rows, **types):
    """A parquet file; columns whose type cannot be told from the rows have one given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pq.write_table(table, path)
    return path


def write_tar(path, members, form=tarfile.PAX_FORMAT):
    """A tar of these members, name → content, in this order; content None: a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
                continue
            content = content.encode() if isinstance(content, str) else content
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path

"""Small files as img2dataset writes them, for `scripts/paper_files.py`: tars, and a parquet of addresses with each."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmark_files import Picture, save_json

TAR = 100
"""Pictures of a tar."""


def web(folder: Path, shown: Sequence[Picture]) -> None:
    """LAION, and CC3M, CC12M and SBU: img2dataset's tars with a parquet each, in which every tenth address is dead."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(0, len(shown), TAR):
        name, rows = f"{shard // TAR:05d}", []
        with tarfile.open(folder / f"{name}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for picture in shown[shard : shard + TAR]:
                key = f"{name}{len(rows):04d}"
                row = web_row(picture, key)
                for ending, content in (
                    ("jpg", picture.jpeg), ("json", json.dumps(row).encode()), ("txt", row["caption"].encode())
                ):  # fmt: skip
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                rows.append(row)
                if picture.number % 10 == 0:
                    dead = {"status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"}
                    rows.append(web_row(picture, f"{name}{len(rows):04d}") | dead)
        parquet(folder / f"{name}.parquet", rows)
        dead_ones = sum(row["status"] != "success" for row in rows)
        told = {"count": len(rows), "successes": len(rows) - dead_ones, "failed_to_download": dead_ones}
        save_json(folder / f"{name}_stats.json", told)


def web_row(picture: Picture, key: str) -> dict[str, Any]:
    """What img2dataset says of a picture."""
    shown = f"{picture.colour} {picture.shape}"
    caption = (f"A {shown}.", f"a {shown}", f"There is a {shown}!")[picture.number % 3]
    sides = {f"{before}{side}": picture.size for before in ("", "original_") for side in ("width", "height")}
    return {"caption": caption, "url": f"http://images.example/{picture.number}.jpg", "key": key, "status": "success",
            "error_message": None, "exif": "{}", "sha256": None, **sides}  # fmt: skip


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table of rows."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)

"""Data sets made on the spot, a form that reads them, and the step ``shards`` on them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygptv.config import Config, DataSet, Loader, Shards
from tinygptv.config.formats import FORMATS
from tinygptv.data.manifest import RawFile, manifest_path, write_manifest
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found, Rejection, Source, raw_files
from tinygptv.ground.files import sha256_file
from tinygptv.steps import shards


@dataclass
class RecordingRun:
    """Keeps what a step reports."""

    values: dict[str, Any] = field(default_factory=dict)

    def params(self, values: dict[str, Any]) -> None:
        self.values.update(values)

    metrics = params

    def artifact(self, path: Path, folder: str = "") -> None:
        assert path.is_file()
        self.values[f"artifact {path.name}"] = path.read_bytes()


Row = dict[str, Any]
"""A line: ``id``, ``image`` (a name; absent: none), ``texts`` (questions and answers), ``task``, ``split``."""


@pytest.fixture(scope="module", autouse=True)
def made_form() -> Iterator[None]:
    """Sets of the form ``made`` can be read; for the modules that import it."""
    register()
    yield
    del FORMATS["made"]


def register() -> None:
    """Let sets of the form ``made`` be read in this process."""
    FORMATS["made"] = __name__


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records of a made data set; an image of ``bytes/`` is handed over as bytes."""
    for path in source.files:
        for line in path.open():
            row = json.loads(line)
            name = row.get("image")
            image = source.image(name) if name else None
            if name and image is None:
                yield {"id": row["id"], "reason": f"image {name} does not exist"}
                continue
            content = image.read() if image is not None and name.startswith("bytes/") else image
            turns = tuple(Turn(*texts) for texts in row["texts"])
            yield Found(Record(row["id"], row.get("task", "vqa"), turns), content, row.get("split", ""))


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    """A small picture, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def rows_of(numbers: range, folder: str = "pictures") -> list[Row]:
    """Two records for each picture, and every tenth with a text that has none."""
    rows: list[Row] = []
    for number in numbers:
        image = f"{folder}/{number}.png"
        rows.append({"id": f"{number}-vqa", "image": image, "texts": [["what?", f"number {number}"]]})
        rows.append({"id": f"{number}-caption", "image": image, "task": "caption", "texts": [["", f"no. {number}"]]})
        if number % 10 == 0:
            rows.append({"id": f"{number}-text", "task": "conversation", "texts": [[f"say {number}", str(number)]]})
    return rows


def write_set(root: Path, name: str, rows: list[Row], pictures: dict[str, bytes]) -> DataSet:
    """The raw files of a data set below ``root/<name>``, and its section of a profile."""
    for image, content in pictures.items():
        path = root / name / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    path = root / name / "rows.json-lines"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSet(
        format="made", files=(f"{name}/rows.json-lines",), images=name, split={"val": 0.2, "test": 0.1}, licence="MIT"
    )


def context(root: Path, smoke: Config, sets: dict[str, DataSet], **changes: Any) -> Any:
    """A step's context for ``shards``; ``download`` has run, the output is empty, what a state keeps is there."""
    download, out = root / "download", root / "out"
    download.mkdir(exist_ok=True)
    for name, settings in sets.items():
        files = [RawFile(file, path.stat().st_size, sha256_file(path)) for file, path in raw_files(settings, root)]
        write_manifest(manifest_path(download, name), files)
    config = smoke.model_copy(
        update={
            "data": sets,
            "shards": Shards(**{"images_per_shard": 16, "max_rejected": 0.0, **changes}),
            "loader": Loader(workers=0, prefetch=2),
        }
    )
    for folder in (out, root / "state"):
        folder.mkdir(exist_ok=True)
    return SimpleNamespace(
        root=root,
        profile=SimpleNamespace(name="smoke"),
        out=out,
        state=root / "state",
        blocks=root / "blocks",
        code={},
        config=config,
        run=RecordingRun(),
        input=lambda step: root / step,
    )


def run(made: Any) -> dict[str, bytes]:
    """Run the step; its output, by relative name."""
    shards.run(made)
    return outputs(made.out)


def outputs(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

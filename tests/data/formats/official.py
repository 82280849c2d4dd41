"""Files of benchmarks in their official layout, and what a form makes of them."""

from __future__ import annotations

import json
from dataclasses import replace

from PIL import Image

from tinygptv.config import DataSet
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.record_rules import check_record
from tinygptv.data.source import open_source, raw_files, read_source
from tinygptv.ground.files import sha256_file


def write_lines(path, entries):
    """A file with an entry on each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return path


def write_json(path, content):
    """A file that is one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def draw(path, number=0):
    """A small image, another one for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (number, 0, 0)).save(path)


def open_set(root, form, files, **settings):
    """A data set with images below ``images``, after its ``download``."""
    known = DataSet(**{"format": form, "files": files, "images": "images", "licence": "MIT", **settings})
    seen = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(known, root)]
    write_manifest(root / "manifest", seen)
    return open_source("asked", known, root, root / "manifest")


def read_set(root, form, files, checked=True, **settings):
    """Its records, checked unless told, and its rejections."""
    items = list(read_source(open_set(root, form, files, **settings)))
    found = [item for item in items if not isinstance(item, dict)]
    for item in found if checked else ():
        check_record(replace(item.record, dataset="asked"), "key")
    return found, [item for item in items if isinstance(item, dict)]

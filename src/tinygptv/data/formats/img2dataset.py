"""The output of img2dataset: pictures with captions in folders, tars or parquet, and what became of each address.

Source: github.com/rom1504/img2dataset, README, "Output format" and "Image filtering". Addresses that gave no picture
stand in a shard's parquet, and only there, or in a JSON without a picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from tinygptv.data.cell_pictures import CellPictures
from tinygptv.data.columns import Columns, check_columns, columns_of, pair_of, text_of
from tinygptv.data.conversations import rejection
from tinygptv.data.json_items import JsonItem
from tinygptv.data.named_splits import NamedSplits
from tinygptv.data.own_tars import TarSamples, split_name
from tinygptv.data.parquet_rows import PARQUET, column_names, read_parquet
from tinygptv.data.picture_rows import content_key
from tinygptv.data.recognise import Look, Recognised
from tinygptv.data.record_names import RecordNames
from tinygptv.data.record_rules import RecordError
from tinygptv.data.sample_files import LARGEST_TEXT, OBJECT, PICTURES, SUCCESS, TEXT, SampleFile, not_downloaded
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.tar_samples import records_of_files, records_of_tar
from tinygptv.ground.digests import sha256
from tinygptv.ground.errors import DataError, complain

METADATA = frozenset({"url", "key", "status"})
"""What its parquet and its JSON have in any case."""
_ASKED = ("key", "status", "error_message", "caption", "width", "height", "original_width", "original_height")
_LOOKED_AT = 3
"""JSON files that are looked at to recognise the form."""
_LARGEST_SIDE = 1 << 31
"""Pixels; what a file says beyond that is no side of a picture."""
_STATS = re.compile(r"(.*/)?\d+_stats\.json")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The pictures of all shards with their captions, and each address that gave none.

    Raises:
        DataError: there is no shard, or one is damaged.
    """
    tars = [path for path in source.files if path.suffix.lower() == ".tar"]
    tables = [path for path in source.files if path.suffix.lower() == PARQUET]
    sizes = _Sizes(source.name)
    with closing(RecordNames()) as names:
        if tars:
            yield from _of_tars(tars, {path.with_suffix(""): path for path in tables}, source, names, sizes)
        elif source.settings.images:
            yield from _of_folder(source, names, sizes)
        elif tables:
            yield from _of_tables(tables, source, names, sizes)
        else:
            raise DataError(
                f"data set {source.name} has no .tar or .parquet in `files`; where the pictures are files, name their "
                "folder as `images`"
            )


def recognise(look: Look) -> Recognised | None:
    """Shards with img2dataset's metadata beside the pictures."""
    tables, tars, pictures = look.named(PARQUET), look.named(".tar"), look.named(*PICTURES)
    table = next((name for name in tables if _keys(look, name) >= METADATA), None)
    told = next((name for name in look.named(".json")[:_LOOKED_AT] if _keys(look, name) >= METADATA), None)
    if (found := table or told) is None:
        return None
    why = f"{found} has img2dataset's `url`, `key` and `status`"
    if tars or (table is not None and _keys(look, table) & {*PICTURES}):
        return Recognised(why=why, files=(look.path,))
    return Recognised(why=why, images=look.path) if pictures and look.path.is_dir() else None


def _of_tars(
    tars: list[Path], tables: Mapping[Path, Path], source: Source, names: RecordNames, sizes: _Sizes
) -> Iterator[Found | Rejection]:
    splits = NamedSplits(tars)
    for path in tars:
        with closing(TarSamples(path)) as samples:
            yield from records_of_tar(path, samples, source, names, splits.of(path), sizes.saw)
            if (table := tables.get(path.with_suffix(""))) is not None:
                for row in read_parquet(table, _ASKED):
                    yield from _lost(row, lambda key: bool(samples.endings(key) & {*PICTURES}), path.name)


def _of_folder(source: Source, names: RecordNames, sizes: _Sizes) -> Iterator[Found | Rejection]:
    for key, group in groupby(source.names(), key=lambda name: split_name(name)[0]):
        listed = list(group)
        files: dict[str, list[SampleFile]] = {}
        for name in listed:
            if name.lower().endswith(PARQUET):
                yield from _lost_of_folder(name, source)
            elif not _STATS.fullmatch(name):
                files.setdefault(split_name(name)[1], []).append(_file(name, source))
        if files.keys() & {TEXT, OBJECT, *PICTURES}:
            yield from records_of_files(PurePosixPath(key).name, files, source, names, "", sizes.saw)


def _lost_of_folder(name: str, source: Source) -> Iterator[Rejection]:
    """Addresses in a shard's parquet that gave no picture in the folder of its name."""
    shard = split_name(name)[0]

    def has_picture(key: str) -> bool:
        return any(source.image(f"{shard}/{key}.{ending}") is not None for ending in PICTURES)

    table = _as_seen(source.images / name, source.image(name))
    if set(column_names(table)) >= METADATA:
        for row in read_parquet(table, _ASKED):
            yield from _lost(row, has_picture, f"{shard}/")


def _lost(row: JsonItem, has_picture: Callable[[str], bool], shard: str) -> Iterator[Rejection]:
    """Why there is no picture of a row of the metadata; nothing where there is one."""
    if row.problem:
        yield rejection(row.place, row.problem)
        return
    key, status = str(row.content.get("key")), row.content.get("status")
    if status != SUCCESS:
        yield rejection(key, not_downloaded(row.content))
    elif not has_picture(key):
        yield rejection(key, f"its picture was downloaded, but is not in {shard}")


def _of_tables(tables: list[Path], source: Source, names: RecordNames, sizes: _Sizes) -> Iterator[Found | Rejection]:
    splits = NamedSplits(tables)
    with closing(CellPictures(source)) as pictures:
        for path in tables:
            there = column_names(path)
            columns = columns_of(there, source.settings, str(path))
            if columns.image not in (*PICTURES, dict(source.settings.columns).get("image")):
                raise DataError(f"{path} holds no pictures; name the folder where they are as `images`, and no `files`")
            check_columns(columns, there, str(path))
            read = {*_ASKED, columns.image, columns.question, columns.answer}
            for row in read_parquet(path, read):
                yield from _of_row(row, columns, source, names, pictures, splits.of(path), sizes)


def _of_row(
    row: JsonItem,
    columns: Columns,
    source: Source,
    names: RecordNames,
    pictures: CellPictures,
    split: str,
    sizes: _Sizes,
) -> Iterator[Found | Rejection]:
    cells, told = row.content, row.place
    if row.problem:
        yield rejection(told, row.problem)
        return
    try:
        told = text_of(cells.get("key"), "key") or told
        if cells.get("status", SUCCESS) != SUCCESS:
            yield rejection(told, not_downloaded(cells))
            return
        sizes.saw(told, cells)
        image = pictures.of(cells[columns.image], columns.image)
        name = names.of(told, [told, content_key(image), repr([cells.get(columns.question), cells[columns.answer]])])
        yield replace(pair_of(name, cells, columns, image, source.settings.task), split=split)
    except RecordError as error:
        yield rejection(told, error.reason)


class _Sizes:
    """Says once that pictures have another shape than they had: by default img2dataset puts white borders around."""

    def __init__(self, dataset: str) -> None:
        self._dataset, self._said = dataset, False

    def saw(self, key: str, content: Mapping[str, Any]) -> None:
        """Look at the metadata of a picture."""
        if self._said:
            return
        sides = [content.get(side) for side in ("width", "height", "original_width", "original_height")]
        if not all(isinstance(side, int) and 0 < side < _LARGEST_SIDE for side in sides):
            return
        width, height, old_width, old_height = (float(side) for side in sides if side is not None)
        if abs(width * old_height - height * old_width) <= max(old_width, old_height):  # less than a pixel
            return
        self._said = True
        complain(
            self._dataset,
            f"{key} was {old_width:.0f} x {old_height:.0f} and is {width:.0f} x {height:.0f}: img2dataset resized with "
            "borders or cut; with --resize_mode keep_ratio the pictures would be whole and without borders",
        )


def _file(name: str, source: Source) -> SampleFile:
    path, image = source.images / name, source.image(name)
    assert image is not None, "its name is from the manifest"

    def read() -> bytes:
        return _as_seen(path, image).read_bytes()

    return SampleFile(image.size, True, read, lambda: image)


def _as_seen(path: Path, seen: ImageFile | None) -> Path:
    """A small file below the images, which must be what ``download`` saw.

    Raises:
        DataError: it is not.
    """
    if seen is not None and seen.sha256 and sha256(path) != seen.sha256:
        raise DataError(f"{path} was changed since `download`; run `dvc repro download`")
    return path


def _keys(look: Look, name: str) -> set[str]:
    """The keys of a file's first entry, or of the object that it is, over several lines as img2dataset writes it."""
    entries = look.entries(name)
    if not entries and name.lower().endswith(".json"):
        path = look.path if look.path.is_file() else look.path / name
        with suppress(ValueError, OSError, RecursionError):
            entries = [json.loads(path.read_bytes()[:LARGEST_TEXT])]
    return set(entries[0]) if entries and isinstance(entries[0], dict) else set()

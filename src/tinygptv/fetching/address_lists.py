"""Lists of addresses, and what becomes of them: tars as img2dataset's, or files; a table of what gave nothing.

A list is taken in parts. What is in memory is one part; a part whose table is there is done, and a run that was stopped
goes on with the pictures of the part that it was at.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from tinygptv.data.json_items import JsonItem, read_items, read_members
from tinygptv.fetching.network import Network
from tinygptv.fetching.pictures import NoPicture, Outcomes, PictureAddress, fetch_pictures
from tinygptv.fetching.sources import SOURCES, AddressList
from tinygptv.ground.errors import DataError, PassingError
from tinygptv.ground.files import read_json, sync_file, sync_path, write_json
from tinygptv.ground.progress import Progress

PART = 10_000
"""Addresses of a part, as of img2dataset's tars."""
FEWEST = 20
"""Addresses that have to fail together before this machine's network is blamed."""
TABLES = "addresses"
"""Beside a folder of files: their tables. Tars have theirs beside them."""
_KEY = re.compile(r"[\w-]{1,100}")


@dataclass(frozen=True, slots=True)
class AddressRow:
    """An entry of a list."""

    picture: PictureAddress
    caption: str


def fetch_list(home: Path, settings: AddressList, network: Network) -> Counter[str]:
    """Ask for every address of a list.

    Args:
        home: the checkout that has ``data/raw``.
        settings: where the list is, its form, where the pictures go.
        network: who may be asked.

    Returns:
        ``success`` and the kinds of failure → addresses, of all parts.

    Raises:
        DataError: the list is damaged; or more addresses than may be give no picture, with the table that names them.
        PassingError: nothing can be reached just now.
    """
    file, to = home / settings.file, home / settings.to
    if not file.is_file():
        raise DataError(f"{file} is missing; `tinygptv data fetch` says how it is got")
    rows, total = _rows(file, settings.form), Counter[str]()
    tables = to if settings.form == "captions" else to.parent / TABLES
    number = 0
    while part := [*islice(rows, PART)]:
        table = tables / f"{number:05d}_stats.json"
        if not table.is_file():
            _take(part, number, to, table, settings, network)
        told = read_json(table)
        total += Counter({"success": told["successes"]} | told["status_dict"])
        dead, asked = total.total() - total["success"], total.total()
        if dead > settings.max_dead * asked:
            raise DataError(
                f"{settings.file}: {dead:,} of {asked:,} addresses gave no picture ({_most(total)}), more than "
                f"max_dead ({settings.max_dead:.0%}) of {SOURCES}; {table} names them. Raise it there to go on"
            )
        number += 1
    return total


def _rows(path: Path, form: str) -> Iterator[AddressRow]:
    """The entries of a list, one after the other.

    Raises:
        DataError: it is damaged, or an entry has no address.
    """
    if form == "captions":
        for number, item in enumerate(read_items(path)):
            url, caption = (_text(item, key) for key in ("url", "caption"))
            key = f"{number // PART:05d}{number % PART:04d}"
            yield AddressRow(PictureAddress(key, url, ""), caption)
    else:
        for name, item in read_members(path):
            url = _text(item, "imageURL")
            if not _KEY.fullmatch(name):
                raise DataError(f"{item.place}: {name!r} is no name of a picture")
            ending = PurePosixPath(urlsplit(url).path).suffix.lstrip(".")
            yield AddressRow(PictureAddress(name, url, ending if _KEY.fullmatch(ending) else "jpg"), "")


def _text(item: JsonItem, key: str) -> str:
    value = item.content.get(key) if isinstance(item.content, dict) else None
    if not isinstance(value, str):
        raise DataError(f"{item.place}: `{key}` must be a text")
    return value


def _take(part: list[AddressRow], number: int, to: Path, table: Path, settings: AddressList, network: Network) -> None:
    """Get the pictures of a part, put them in their places, and write its table last."""
    work = to / f".{number:05d}"
    outcomes: Outcomes = {row.picture.key: path for row in part if (path := _there(row.picture, to)) is not None}
    asked = [row.picture for row in part if row.picture.key not in outcomes]
    with Progress(f"{settings.to}: part {number}, addresses", len(asked), unit="address") as bar:
        outcomes |= fetch_pictures(asked, work, network, bar.update)
    lost = Counter(outcome.kind for outcome in outcomes.values() if isinstance(outcome, NoPicture))
    if len(asked) >= FEWEST and lost["no connection"] == len(asked):
        raise PassingError(f"{settings.file}: none of {len(part):,} addresses can be reached; is there a network?")
    if settings.form == "captions":
        _write_tar(part, outcomes, to, number)
        _write_parquet(part, outcomes, to / f"{number:05d}.parquet")
    else:
        for outcome in outcomes.values():
            if isinstance(outcome, Path) and outcome.parent == work:
                outcome.replace(to / outcome.name)
    sync_path(to)
    failed = [
        {"key": row.picture.key, "url": row.picture.url, "kind": outcome.kind, "reason": outcome.detail}
        for row in part
        if isinstance(outcome := outcomes[row.picture.key], NoPicture)
    ]
    write_json(
        table,
        {
            "count": len(part),
            "successes": len(part) - len(failed),
            "failed_to_download": len(failed),
            "status_dict": lost,
            "failed": failed,
        },
    )
    shutil.rmtree(work, ignore_errors=True)


def _there(picture: PictureAddress, to: Path) -> Path | None:
    """A picture that is a file, where an earlier run, or somebody else, has put it."""
    names = dict.fromkeys((f"{picture.key}.{picture.ending}", f"{picture.key}.jpg")) if picture.ending else ()
    return next((to / name for name in names if (to / name).is_file()), None)


def _write_tar(part: list[AddressRow], outcomes: Outcomes, to: Path, number: int) -> None:
    """The pictures in the list's order, each with its caption, as img2dataset writes them."""
    beside = to / f".{number:05d}.tar"
    with tarfile.open(beside, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in part:
            if isinstance(path := outcomes[row.picture.key], Path):
                _add(tar, path.name, path.read_bytes())
                _add(tar, f"{row.picture.key}.json", json.dumps(_told(row, path), ensure_ascii=False).encode())
                _add(tar, f"{row.picture.key}.txt", row.caption.encode(errors="replace"))
    sync_file(beside)
    beside.replace(to / f"{number:05d}.tar")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_parquet(part: list[AddressRow], outcomes: Outcomes, path: Path) -> None:
    """What became of each address, so that the form img2dataset counts those that gave no picture."""
    import pyarrow as pa
    from pyarrow import parquet

    beside = path.with_name(f".{path.name}")
    parquet.write_table(pa.Table.from_pylist([_told(row, outcomes[row.picture.key]) for row in part]), beside)
    beside.replace(path)


def _told(row: AddressRow, outcome: Path | NoPicture) -> dict[str, Any]:
    """A row of img2dataset's metadata."""
    failed = isinstance(outcome, NoPicture)
    return {
        "url": row.picture.url,
        "caption": row.caption,
        "key": row.picture.key,
        "status": "failed_to_download" if failed else "success",
        "error_message": f"{outcome.kind}: {outcome.detail}" if isinstance(outcome, NoPicture) else None,
    }


def _most(total: Counter[str]) -> str:
    """The commonest reasons, for a message."""
    reasons = [(kind, count) for kind, count in total.most_common() if kind != "success"]
    return ", ".join(f"{kind}: {count:,}" for kind, count in reasons[:4])

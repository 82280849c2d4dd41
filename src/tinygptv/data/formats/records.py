"""Records of this project as a data set: tars of a step ``shards``, or those that ``write_shards`` made of your own.

Tars of the released version, which name no data set, are read as well (docs/records.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tinygptv.data.recognise import Recognised
from tinygptv.data.samples import read_record, tar_members
from tinygptv.data.source import Found, ImageFile, Rejection, Source
from tinygptv.data.summary import SPLITS
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.data.recognise import Look

_SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d+\.tar")


def read(source: Source) -> Iterator[Found | Rejection]:
    """The records of all tars; one whose name begins with a split is of that split.

    Raises:
        DataError: there is no tar, or one is damaged or foreign.
    """
    tars = [path for path in source.files if path.suffix == ".tar"]
    if not tars:
        raise DataError(f"data set {source.name} has no tars; name them, or their folder, in its `files`")
    for path in tars:
        split = named[1] if (named := _SHARD.fullmatch(path.name)) else ""
        with path.open("rb") as file:
            for key, members in tar_members(path):
                sample = read_record(file, key, members)
                image = None
                if sample.image is not None:
                    image = ImageFile(path, *members.image, sample.image.sha256)
                yield from (Found(record, image, split) for record in sample.records)


def recognise(look: Look) -> Recognised | None:
    """Tars whose first sample is one of this project."""
    tars = [look.at(name) for name in look.named(".tar")]
    if not tars:
        return None
    try:
        with tars[0].open("rb") as file:
            key, members = next(tar_members(tars[0]))
            read_record(file, key, members)
    except (DataError, StopIteration):
        return None  # of another form, or damaged: then its form says how
    return Recognised(why=f"the samples of {tars[0].name} are records of this project", files=tuple(tars))

"""WebDataset's tars: the files of a sample have their name in common, `0001.jpg` and `0001.txt` or `0001.json`.

Source: github.com/webdataset/webdataset, "The WebDataset Format". There a name ends at its first dot; here at its last,
so that names with dots are read, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice

from tinygptv.data.formats import img2dataset, records
from tinygptv.data.named_splits import NamedSplits
from tinygptv.data.own_tars import TarSamples, read_members, split_name, tar_files
from tinygptv.data.recognise import Look, Recognised
from tinygptv.data.record_names import RecordNames
from tinygptv.data.sample_files import OBJECT, PICTURES, TEXT
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.data.tar_samples import records_of_tar
from tinygptv.ground.errors import DataError

_LOOKED_AT = 200
"""Members of a tar that are looked at to recognise the form."""


def read(source: Source) -> Iterator[Found | Rejection]:
    """The samples of all tars; one whose name, or whose folder, says a split is of that split.

    Raises:
        DataError: there is no tar, or one is damaged, cut off or compressed.
    """
    tars = tar_files(source.files, source.name)
    splits = NamedSplits(tars)
    with closing(RecordNames()) as names:
        for path in tars:
            with closing(TarSamples(path)) as samples:
                yield from records_of_tar(path, samples, source, names, splits.of(path), lambda key, content: None)


def recognise(look: Look) -> Recognised | None:
    """Tars whose members are pictures with a text or JSON of the same name."""
    tars = look.named(".tar")
    if not tars or img2dataset.recognise(look) is not None or records.recognise(look) is not None:
        return None
    path = look.path if look.path.is_file() else look.path / tars[0]
    try:
        endings = {split_name(member.name)[1] for member in islice(read_members(path), _LOOKED_AT)}
    except DataError:
        return None  # `read` says what is wrong
    if not endings & {*PICTURES} or not endings & {TEXT, OBJECT}:
        return None
    shown = ", ".join(f".{ending}" for ending in sorted(endings & {*PICTURES, TEXT, OBJECT}))
    return Recognised(why=f"{tars[0]} is a tar with samples of {shown}", files=(look.path,))

"""TextVQA's file: questions with the answers of ten people each, such as ``TextVQA_0.5.1_val.json``.

Source: https://textvqa.org/dataset. The same questions in the two files of VQA's form are read too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tinygptv.data.annotations import Annotation, found
from tinygptv.data.entries import Ids, checked_split, content_of, id_of, only_file, value_of
from tinygptv.data.formats import vqa
from tinygptv.data.json_items import JsonItem, read_members
from tinygptv.data.people import answers_of, asked
from tinygptv.data.source import Found, Rejection, Source

ENTRIES = "data"
PARTS = ("val", "train", "test")


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation | Rejection]:
    """The questions in the order of their file.

    Args:
        files: the file, or one of each split.
        part: the split; empty: that of the only file, else ``val``.

    Raises:
        DataError: the file is of another split or form, or an entry is broken.
    """
    path = only_file(files, part, PARTS)
    if vqa.first_of(path, (ENTRIES, vqa.ANNOTATIONS, vqa.QUESTIONS)) != ENTRIES:
        yield from vqa.annotations(files, part)
        return
    ids = Ids()
    for name, item in read_members(path):
        if name == "dataset_type":
            checked_split(item.content, part, path)
        elif name == ENTRIES:
            yield _annotation(item, part, path, ids)


def read(source: Source) -> Iterator[Found | Rejection]:
    """The questions with their images.

    Raises:
        DataError: as ``annotations``.
    """
    yield from found(source, annotations(source.files, source.settings.part or ""))


def images_of(name: str) -> tuple[str, ...]:
    """Names of an image below `images`, in its folder of the two archives or without it."""
    return f"{name}.jpg", f"train_images/{name}.jpg", f"test_images/{name}.jpg"


def _annotation(item: JsonItem, part: str, path: Path, ids: Ids) -> Annotation:
    content, place = content_of(item), item.place
    checked_split(content.get("set_name"), part, path)
    image = id_of(content, "image_id", place)
    return asked(
        value_of(content, "question", str, place),
        name=ids.add(id_of(content, "question_id", place), place),
        images=images_of(image),
        said=answers_of(content, "answers", place),
    )

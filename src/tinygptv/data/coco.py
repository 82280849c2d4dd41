"""How COCO names its images, whose annotations have numbers only."""

from __future__ import annotations

from collections.abc import Iterator

_SPLITS = ("train2014", "val2014", "train2017", "val2017", "test2015")


def image_names(number: int, split: str = "") -> tuple[str, ...]:
    """The names that an image may have below a folder, in that of its split or without it.

    Numbers are unique over all splits, and the images of 2017 are those of 2014 under other names, so that any file
    with the number is the image.

    Args:
        number: of the image.
        split: such as ``val2014``, whose names come first; empty where it is not known.
    """
    return tuple(dict.fromkeys(_names(f"{number:012d}.jpg", split)))


def _names(file: str, split: str) -> Iterator[str]:
    for one in (split, *_SPLITS) if split else _SPLITS:
        name = file if one.endswith("2017") else f"COCO_{one}_{file}"
        yield name
        yield f"{one}/{name}"

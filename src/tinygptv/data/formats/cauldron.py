"""The Cauldron and FineVision: parquet with `images`, and `texts` of questions and answers about them.

Sources: the rows of huggingface.co/datasets/HuggingFaceM4/the_cauldron and HuggingFaceM4/FineVision, and nanoVLM's
``data/datasets.py``, which takes marks of images out of the texts, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tinygptv.data.columns import Columns, columns_of
from tinygptv.data.conversations import ANSWERS, ASKS, kind, records_of, turns_of
from tinygptv.data.parquet_rows import PARQUET
from tinygptv.data.picture_rows import Picture, records_of_rows
from tinygptv.data.recognise import Look, Recognised
from tinygptv.data.record_rules import RecordError
from tinygptv.data.source import Found, Rejection, Source
from tinygptv.ground.errors import DataError

TEXTS = "texts"
_MARK = re.compile(
    r"(?:[ \t]*(?:<image(?:[_ ]?\d+|_soft_token)?>|<\|(?:image|image_pad|vision_start|vision_end)\|>"
    r"|<fake_token_around_image>|<(?:start|end)_of_image>)[ \t]*)+"
)


def read(source: Source) -> Iterator[Found | Rejection]:
    """The rows of all files; the pairs of a row are the turns of one conversation.

    Raises:
        DataError: there is no parquet file, one is damaged, or it has no column `texts`.
    """

    def choose(names: list[str], where: str) -> tuple[Columns, tuple[str, ...]]:
        if TEXTS not in names:
            raise DataError(f"{where} has no column `{TEXTS}` as The Cauldron's files have; say `format: parquet`")
        return columns_of(names, source.settings, where), (TEXTS,)

    def make(name: str, cells: Mapping[str, Any], columns: Columns, image: Picture) -> Iterator[Found]:
        turns = turns_of(_said(cells[TEXTS]), has_picture=image is not None, where=columns.image)
        yield from records_of(name, turns, image, source)

    return records_of_rows(source, choose, make)


def recognise(look: Look) -> Recognised | None:
    """Parquet files whose column `texts` has pairs of `user` and `assistant`."""
    files = look.named(PARQUET)
    first = next(iter(look.entries(files[0])), None) if files else None
    if first is None or not _is_pairs(first.get(TEXTS)):
        return None
    return Recognised(
        why=f"{files[0]} is parquet with pairs of `user` and `assistant` in `{TEXTS}`, as The Cauldron and FineVision",
        files=(look.path,),
        images=look.images,
    )


def _is_pairs(cell: Any) -> bool:
    return (
        isinstance(cell, list) and bool(cell) and isinstance(cell[0], dict) and {"user", "assistant"} <= cell[0].keys()
    )


def _said(cell: Any) -> list[tuple[str, str]]:
    """Role and text of each turn."""
    if not isinstance(cell, list):
        raise RecordError(f"`{TEXTS}` must be a list of pairs, not {kind(cell)}", "")
    said = []
    for place, pair in enumerate(cell, start=1):
        if not isinstance(pair, dict):
            raise RecordError(f"pair {place} must be an object with `user` and `assistant`, not {kind(pair)}", "")
        for key, role in (("user", ASKS), ("assistant", ANSWERS)):
            text = pair.get(key)
            if not isinstance(text, str):
                raise RecordError(f"pair {place}: `{key}` must be text, not {kind(text)}", "")
            said.append((role, _MARK.sub(" ", text).strip(" \t\r\n") if _MARK.search(text) else text))
    return said

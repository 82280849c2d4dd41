"""The tokenizer of what a profile starts from, to count with before anything is trained; where there is none, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tinygptv.ground.errors import UserError
from tinygptv.ground.file_names import TOKENIZER
from tinygptv.ground.worktree import output_folders
from tinygptv.steps import init_from

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tinygptv.config import Init

FIRST_SPECIAL = 256
"""Of the ids of ``ByteTokenizer``: below it are bytes."""


@contextmanager
def tokenizer_folder(root: Path, profile: str, init: Init | None) -> Iterator[Path | None]:
    """The folder with the tokenizer that a profile trains with, as long as the block lasts; None: there is none yet.

    Args:
        root: the checkout.
        profile: its name.
        init: what it starts from.
    """
    try:
        if init is None:
            places = output_folders(root, profile, init_from.BACKBONES)
            yield next((place for place in places if (place / TOKENIZER).is_file()), None)
            return
        source = init_from.find(root, init)
    except UserError:
        yield None  # it is not made yet, and the step that needs it says how it is
        return
    if isinstance(source, init_from.ImportedFolder):
        yield source.folder if (source.folder / TOKENIZER).is_file() else None
        return
    with init_from.opened(root, source) as made:
        yield made.backbones if (made.backbones / TOKENIZER).is_file() else None


def tokenizer_of(folder: Path | None, end_mark: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, or one of bytes, which makes no fewer tokens than any other.

    Args:
        folder: as of ``tokenizer_folder``.
        end_mark: the text that ends an answer.
    """
    if folder is None:
        return cast("PreTrainedTokenizerBase", ByteTokenizer(end_mark))
    from tinygptv.model.processing import read_tokenizer

    return read_tokenizer(folder)


class ByteTokenizer:
    """A token for each byte, and one for the end mark: as much of a tokenizer as ``data/prompts.py`` asks for."""

    bos_token_id = FIRST_SPECIAL
    end_mark_id = FIRST_SPECIAL + 1

    def __init__(self, end_mark: str) -> None:
        self._end_mark = end_mark

    def __call__(self, text: str, **how: object) -> dict[str, list[int]]:
        """Tokens of a text; there are no special ones in it."""
        return {"input_ids": [self.end_mark_id] if text == self._end_mark else list(text.encode())}

    def decode(self, ids: Sequence[int], **how: object) -> str:
        """The text of tokens."""
        end = self._end_mark.encode()
        parts = (end if number == self.end_mark_id else bytes([number]) for number in ids if number != FIRST_SPECIAL)
        return b"".join(parts).decode(errors="replace")

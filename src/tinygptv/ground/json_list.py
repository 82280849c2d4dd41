"""A JSON list that is written entry by entry: no more than one entry is in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinygptv.ground.files import needing


@contextmanager
def json_list(path: Path) -> Iterator[Callable[[Any], None]]:
    """Gives a function that appends an entry; the file is there when the block ends well, and whole.

    Keys are sorted, so that equal content is equal bytes; NaN is refused.

    Raises:
        NoSpaceError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with needing(path, 0):
            with temporary.open("w", encoding="utf-8") as file:
                separator = "["

                def append(entry: Any) -> None:
                    nonlocal separator
                    text = json.dumps(entry, sort_keys=True, ensure_ascii=False, allow_nan=False)
                    file.write(f"{separator}\n{text}")
                    separator = ","

                yield append
                file.write("[]\n" if separator == "[" else "\n]\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

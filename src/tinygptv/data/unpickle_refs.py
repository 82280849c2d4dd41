"""A program of its own: read REFER's pickle of expressions, write what is needed of it as JSON, an object a line.

    python unpickle_refs.py "refs(unc).p" OUT.jsonl

A pickle can carry code. Here nothing that it names is looked up, and it is read in a process of its own
(``ground/strangers.py``).
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError, UserError, brief, system_error
from tinygptv.ground.strangers import confine, run_apart

MEMORY = 32
"""Bytes of Python's objects for a byte of the file, at most."""
GROWTH = 4
"""Bytes of JSON for a byte of the file, at most: a pickle may name a text once and use it often."""
FIELDS = ("ref_id", "ann_id", "image_id", "split")
OF_SENTENCE = ("sent_id", "sent", "raw")


class PlainUnpickler(pickle.Unpickler):
    """Reads lists, objects, texts and numbers, and nothing that has to be imported."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse whatever is asked for."""
        raise DataError(f"holds code or objects ({module}.{name}), which were not run")


def main(source: Path, target: Path) -> None:
    """Convert one file.

    Raises:
        DataError: the file is damaged, or holds something other than REFER's list.
    """
    size = source.stat().st_size
    room = GROWTH * size + 2**16
    confine(memory=MEMORY * size, written=2 * room)
    refs = read(source)
    if not isinstance(refs, list):
        raise DataError(f"holds a value of type {type(refs).__name__}, not REFER's list of objects")
    with target.open("w", encoding="ascii") as lines:
        for ref in refs:
            line = json.dumps(needed(ref))
            room -= len(line) + 1
            if room < 0:
                raise DataError(f"claims more than {GROWTH * size + 2**16:,} bytes of text in a file of {size:,}")
            lines.write(f"{line}\n")


def read(source: Path) -> Any:
    """What the file holds. Texts of Python 2 are UTF-8, as all who read REFER's files take them."""
    try:
        with source.open("rb") as file:
            return PlainUnpickler(file, encoding="utf-8").load()
    except UserError:
        raise
    except MemoryError:
        raise DataError("asks for more memory than its size explains") from None
    except Exception as error:
        if isinstance(error, OSError) and system_error(error) is not None:
            raise
        raise DataError(f"is damaged, or no pickle ({brief(error, longest=100)})") from None


def needed(ref: Any) -> dict[str, Any]:
    """What is needed of an entry, as far as it is there and of the right type."""
    if not isinstance(ref, dict):
        return {}
    sentences = ref.get("sentences")
    found = [_plain(sentence, OF_SENTENCE) for sentence in sentences] if isinstance(sentences, list) else []
    return {**_plain(ref, FIELDS), "sentences": found}


def _plain(entry: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    entry = entry if isinstance(entry, dict) else {}
    return {name: entry[name] for name in fields if type(entry.get(name)) in (int, str)}


if __name__ == "__main__":
    run_apart(main)

"""LLaMA-Factory's `dataset_info.json`: what the files beside it call their columns, and who speaks in them.

Source: LLaMA-Factory's data/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinygptv.data.message_rows import Tags
from tinygptv.ground.errors import DataError

NAME = "dataset_info.json"
MOST_BYTES = 16 << 20
_COLUMNS = {
    "prompt": "instruction", "query": "input", "response": "output", "history": "history", "system": "system",
    "messages": "messages", "images": "images", "videos": "videos", "audios": "audios",
}  # fmt: skip
"""What it calls a column → what the column is usually called."""
_ROLES = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}


@dataclass(frozen=True, slots=True)
class EntryNames:
    """How a file is to be read; without a description, by the usual names."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's own name → the usual one."""
    tags: Tags = field(default_factory=Tags)

    def usual(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """An entry by the usual names."""
        return {self.columns.get(name, name): value for name, value in content.items() if name not in self._hidden()}

    def _hidden(self) -> set[str]:
        """Names that mean something else than what the file has under them."""
        return set(self.columns.values()) - self.columns.keys()


def described(path: Path, info: Path | None) -> EntryNames:
    """How a file is to be read.

    Args:
        path: the file.
        info: the ``dataset_info.json`` beside it, or in a folder above; None: there is none.

    Raises:
        DataError: it is no such file.
    """
    if info is None or not path.is_relative_to(info.parent):
        return EntryNames()
    below = path.relative_to(info.parent)
    for entry in _entries(info):
        named = entry.get("file_name")
        if isinstance(named, str) and (below == Path(named) or below.is_relative_to(named)):
            return _description(entry, info)
    return EntryNames()


def _entries(info: Path) -> list[dict[str, Any]]:
    try:
        if info.stat().st_size > MOST_BYTES:
            raise DataError(f"{info} has more than {MOST_BYTES:,} bytes; name the files' own description")
        content = json.loads(info.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{info} is not valid JSON ({error}); correct it, or take it out of `files`") from None
    entries = content.values() if isinstance(content, dict) else [content]
    if not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{info} must be an object with an object for each data set")
    return list(entries)


def _description(entry: Mapping[str, Any], info: Path) -> EntryNames:
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    for what, given in (("columns", columns), ("tags", tags)):
        if not isinstance(given, dict) or not all(isinstance(name, str) for name in given.values() if name is not None):
            raise DataError(f"{info}: `{what}` of {entry.get('file_name')} must be an object of names")
    roles = {tags[tag]: role for tag, role in _ROLES.items() if tags.get(tag)}
    return EntryNames(
        {columns[name]: usual for name, usual in _COLUMNS.items() if columns.get(name)},
        Tags(tags.get("role_tag") or "", tags.get("content_tag") or "", roles),
    )

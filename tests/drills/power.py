"""What a power cut may leave of a folder: only what was flushed is sure, anything else may be old, new or missing.

``Disk`` watches a folder while code changes it through ``os``. After each change and each flush it notes two states:
the sure one (contents and names that were flushed) and the present one. ``Cut.leave`` writes what may be found after
the power came back: nothing but the sure, or all names but no unflushed content, or any mixture.

The model is stricter than the file systems in use: each folder's names, and each file's content, survive or not
independently of all others, except that a rename within a folder is whole.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WATCHED = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "link")
Names = dict[str, int]
"""Name of an entry → its inode."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment at which the power may go."""

    after: str
    """The last call before it."""
    root: int
    sure_names: dict[int, Names]
    sure_contents: dict[int, bytes]
    names: dict[int, Names]
    contents: dict[int, bytes]

    def leave(self, folder: Path, source: random.Random | None, *, all_names: bool = False) -> Path:
        """Write what is found afterwards.

        Args:
            folder: where to write; must not exist.
            source: draws the mixture; None for what is sure alone.
            all_names: every name has survived, but no content that was not flushed.
        """
        self._leave_folder(folder, self.root, source, all_names)
        return folder

    def _leave_folder(self, folder: Path, inode: int, source: random.Random | None, all_names: bool) -> None:
        folder.mkdir()
        sure, present = self.sure_names.get(inode, {}), self.names.get(inode, {})
        take_present = all_names or (source is not None and source.random() < 0.5)
        for name, child in sorted((present if take_present and inode in self.names else sure).items()):
            if child in self.names or child in self.sure_names:
                self._leave_folder(folder / name, child, source, all_names)
            else:
                (folder / name).write_bytes(self._content(child, source))

    def _content(self, inode: int, source: random.Random | None) -> bytes:
        sure = self.sure_contents.get(inode, b"")
        present = self.contents.get(inode, sure)  # of a removed file only its sure content may come back
        if source is None or present == sure:
            return sure
        return source.choice([sure, present, present[: source.randint(0, len(present))]])


@dataclass(slots=True)
class Disk:
    """A watched folder."""

    root: Path
    left_out: frozenset[Path] = frozenset()
    """What below it does not change, and need not be looked at."""
    cuts: list[Cut] = field(default_factory=list)
    _sure_names: dict[int, Names] = field(default_factory=dict)
    _sure_contents: dict[int, bytes] = field(default_factory=dict)
    _held: dict[int, int] = field(default_factory=dict)
    """Every inode that was seen, held open: the system must not give its number to another file."""

    @contextmanager
    def watch(self) -> Iterator[None]:
        """All that lies in the folder now is sure; from here on changes are."""
        names, contents = self._look()
        self._sure_names, self._sure_contents = dict(names), dict(contents)
        with pytest.MonkeyPatch.context() as patch:
            for name in WATCHED:
                patch.setattr(os, name, self._watched(name, getattr(os, name)))
            yield
        self._note("the end")
        for handle in self._held.values():
            os.close(handle)
        self._held.clear()

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **how: Any) -> Any:
            self._note(f"before {name}")
            result = call(*arguments, **how)
            if name == "fsync":
                self._flushed(arguments[0])
            self._note(name)
            return result

        return watched

    def _flushed(self, handle: int) -> None:
        found = os.fstat(handle)
        names, contents = self._look()
        if stat.S_ISDIR(found.st_mode) and found.st_ino in names:
            self._sure_names[found.st_ino] = names[found.st_ino]
        elif found.st_ino in contents:
            self._sure_contents[found.st_ino] = contents[found.st_ino]

    def _note(self, after: str) -> None:
        names, contents = self._look()
        root = self.root.stat().st_ino
        self.cuts.append(Cut(after, root, dict(self._sure_names), dict(self._sure_contents), names, contents))

    def _look(self) -> tuple[dict[int, Names], dict[int, bytes]]:
        """Names by folder, contents by file, as they are now."""
        names: dict[int, Names] = {}
        contents: dict[int, bytes] = {}
        waiting = [self.root]
        while waiting:
            folder = waiting.pop()
            entries: Names = {}
            for path in folder.iterdir():
                if path in self.left_out:
                    continue
                inode = path.lstat().st_ino
                entries[path.name] = inode
                if inode not in self._held:
                    self._held[inode] = os.open(path, os.O_RDONLY)
                if path.is_dir():
                    waiting.append(path)
                else:
                    contents[inode] = path.read_bytes()
            names[folder.stat().st_ino] = entries
        return names, contents

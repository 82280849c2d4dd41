"""Finished blocks of a step's output: kept beside the outputs, linked into them, used again for equal inputs.

DVC removes a step's output before it runs the step, and a kill leaves none; from here both are made whole again without
a block's work. A block is its files and one note, written last: what it was made from, and the state of the files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError
from tinygptv.ground.files import canonical, link_or_copy, read_json, sync_tree, write_json

NOTE = ".note.json"
_SCRATCH = ".new"


@dataclass(frozen=True, slots=True)
class Block:
    """A finished block."""

    name: str
    """Such as ``my_cats/train-000000``: its files' path below a folder, without the suffix."""
    inputs: str
    """Digest of all that decides its bytes."""
    digests: dict[str, str]
    """Suffix of a file, such as ``.tar`` → its SHA-256."""
    facts: dict[str, Any]
    """What its maker says of it, as JSON."""


@dataclass(frozen=True, slots=True)
class BlockStore:
    """The finished blocks of a step below a folder, such as ``.state/tiny/blocks/shards``. Blocks are never changed."""

    folder: Path

    def find(self, name: str, inputs: str) -> Block | None:
        """The block of that name, if it was made from these inputs and its files are as they were then.

        A file counts as untouched where size, inode and date of its content are the same: other links to it change its
        other date.
        """
        block = self._untouched(name)
        return block if block is not None and block.inputs == inputs else None

    def blocks(self) -> Iterator[Block]:
        """All finished blocks whose files are as they were, whatever they were made from."""
        for note in sorted(self.folder.rglob(f"*{NOTE}")):
            name = note.relative_to(self.folder).as_posix().removesuffix(NOTE)
            if (block := self._untouched(name)) is not None:
                yield block

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty folder on the disk of the store in which to make a block's files; afterwards it is gone."""
        folder = self.folder / _SCRATCH / name
        shutil.rmtree(folder, ignore_errors=True)  # left by a kill
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, name: str, inputs: str, files: Mapping[Path, str], facts: Mapping[str, Any]) -> Block:
        """Keep a block.

        Args:
            name: its name.
            inputs: digest of all that decides its bytes.
            files: in the folder of ``scratch``, each with a suffix of its own, and their SHA-256.
            facts: what to remember of it, as JSON.
        """
        for folder in {path.parent for path in files}:
            sync_tree(folder)
        for path in files:
            target = self.path(name, path.suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        block = Block(name, inputs, {path.suffix: digest for path, digest in files.items()}, dict(facts))
        states = {suffix: self._state(name, suffix) for suffix in block.digests}
        write_json(self.folder / f"{name}{NOTE}", {"block": asdict(block), "states": states})
        return block

    def path(self, name: str, suffix: str) -> Path:
        """Where a file of a block lies."""
        return self.folder / f"{name}{suffix}"

    def link_into(self, out: Path, block: Block, suffix: str) -> Path:
        """A block's file below an output, under the same name; without a second copy where the disk can.

        Returns:
            Its path there.
        """
        target = out / f"{block.name}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(self.path(block.name, suffix), target)
        return target

    def prune(self, names: Iterable[str]) -> None:
        """Remove all blocks but these, and what kills have left: for the end of a step that ended well."""
        shutil.rmtree(self.folder / _SCRATCH, ignore_errors=True)
        kept = {f"{name}{NOTE}" for name in names}
        for note in sorted(self.folder.rglob(f"*{NOTE}")):
            if (name := note.relative_to(self.folder).as_posix()) not in kept:
                note.unlink()
            else:
                kept.update(f"{name.removesuffix(NOTE)}{suffix}" for suffix in read_json(note)["states"])
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(self.folder).as_posix() not in kept:
                path.unlink()

    def _untouched(self, name: str) -> Block | None:
        """The block of that name, if its files are as they were when it was finished."""
        note = self.folder / f"{name}{NOTE}"
        try:
            content = read_json(note) if note.is_file() else {}
            block, states = Block(**content["block"]), content["states"]
        except (DataError, KeyError, TypeError):
            return None  # none, or a damaged one: it is made again
        return block if states == {suffix: self._state(name, suffix) for suffix in block.digests} else None

    def _state(self, name: str, suffix: str) -> list[int] | None:
        """Size, date and inode of a file of a block; None without the file."""
        try:
            found = self.path(name, suffix).stat()
        except FileNotFoundError:
            return None
        return [found.st_size, found.st_mtime_ns, found.st_ino]


def block_code(code: Mapping[str, str], modules: Iterable[str]) -> dict[str, str]:
    """Of the digests of a step's code those that decide a block's bytes.

    Args:
        code: source file → SHA-256, such as ``tinygptv/data/images.py``.
        modules: what makes a block, such as ``data/images``.
    """
    return {file: code[file] for module in sorted(modules) if (file := f"tinygptv/{module}.py") in code}


def inputs_digest(decides: Any) -> str:
    """One digest of what decides a block's bytes, given as JSON."""
    return sha256(canonical(decides).encode()).hexdigest()

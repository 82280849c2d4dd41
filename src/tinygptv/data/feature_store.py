"""Blocks of features between two runs of their step: found again, linked, and taken rows from."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinygptv.data.blocks import Block, BlockStore, inputs_digest
from tinygptv.data.features import SUFFIX
from tinygptv.data.index import RecordIndex, block_name
from tinygptv.data.tar_index import first_key
from tinygptv.data.views import open_view
from tinygptv.ground.files import sha256_file


@dataclass(frozen=True, slots=True)
class Tar:
    """A tar of a split of a set, whose keys ascend."""

    dataset: str
    split: str
    number: int
    path: Path
    sha256: str
    samples: int
    last: int
    """Number of the split's last tar."""
    first: str
    """Its first key."""
    end: str
    """The first key of the next tar; empty for the last one."""


@dataclass(frozen=True, slots=True)
class NewBlock:
    """Features of a tar at a resolution that are to be made."""

    image_size: int
    store: BlockStore
    name: str
    inputs: str
    """Digest of all that decides its bytes."""
    rows: str
    """Digest of all that decides a row, but for the image."""
    known: tuple[Path, ...]
    """Earlier blocks that may have some of its rows."""

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Where to write it; what ``keep`` did not take is gone afterwards."""
        with self.store.scratch(self.name) as folder:
            yield folder / f"block{SUFFIX}"

    def keep(self, path: Path, images: tuple[bytes, ...]) -> None:
        """Put the finished file into the store; its images are given sorted."""
        ends = [images[0].hex(), images[-1].hex()] if images else []
        facts = {"rows": self.rows, "images": len(images), "ends": ends}
        self.store.add(self.name, self.inputs, {path: sha256_file(path)}, facts)


class FeatureStore:
    """The blocks of all sets and resolutions.

    A set that grows past a power of two has its images in other blocks, some under names that others had. Those are
    wanted for their rows until the last of the new ones is made; so either lie in a folder of their own.
    """

    def __init__(self, folder: Path, rows: Mapping[int, str]) -> None:
        """Look at what earlier runs have left.

        Args:
            folder: such as ``.state/tiny/blocks/features``.
            rows: resolution → digest of all that decides a row, but for the image.
        """
        self._folder, self._rows = folder, dict(rows)
        self._known: dict[str, dict[Path, tuple[str, str]]] = {}
        for path in sorted(folder.glob("*")):
            store = BlockStore(path)
            for block in store.blocks():
                self._remember(store, block)

    def find(self, tar: Tar, image_size: int) -> Block | None:
        """The finished features of a tar at a resolution, if they are made of what is there now."""
        return self._store(tar).find(_name(tar, image_size), self._inputs(tar, image_size))

    def new(self, tar: Tar, image_size: int) -> NewBlock:
        """Features of a tar at a resolution that are to be made."""
        rows = self._rows[image_size]
        known = sorted(
            path
            for path, (low, high) in self._known.get(rows, {}).items()
            if high >= tar.first and (not tar.end or low < tar.end)
        )
        inputs = self._inputs(tar, image_size)
        return NewBlock(image_size, self._store(tar), _name(tar, image_size), inputs, rows, tuple(known))

    def remember(self, tar: Tar, image_size: int) -> None:
        """Let blocks that are made later take rows from the one that was made of a tar just now."""
        block = self.find(tar, image_size)
        assert block is not None
        self._remember(self._store(tar), block)

    def link(self, tar: Tar, image_size: int, out: Path) -> tuple[Path, Block]:
        """Put the features of a tar into an output: the file there, and what it is."""
        block = self.find(tar, image_size)
        assert block is not None
        return self._store(tar).link_into(out, block, SUFFIX), block

    def prune(self, tars: Mapping[int, Iterable[Tar]]) -> None:
        """Remove all blocks but those of these tars, given by resolution."""
        kept: dict[Path, list[str]] = {path: [] for path in self._folder.glob("*")}
        for image_size, of_size in tars.items():
            for tar in of_size:
                kept[self._store(tar).folder].append(_name(tar, image_size))
        for folder, names in kept.items():
            if names:
                BlockStore(folder).prune(names)
            else:
                shutil.rmtree(folder)

    def _store(self, tar: Tar) -> BlockStore:
        return BlockStore(self._folder / str(tar.last.bit_length()))

    def _inputs(self, tar: Tar, image_size: int) -> str:
        return inputs_digest({"rows": self._rows[image_size], "tar": tar.sha256})

    def _remember(self, store: BlockStore, block: Block) -> None:
        if block.facts["ends"]:
            low, high = block.facts["ends"]
            self._known.setdefault(block.facts["rows"], {})[store.path(block.name, SUFFIX)] = low, high


def viewed_splits(shards: Path) -> dict[tuple[str, str], list[Tar]]:
    """Data set and split → its tars, of those that the step encodes.

    Args:
        shards: output of the step ``shards``.

    Raises:
        DataError: an index or a tar is missing or not the one of the step's view.
    """
    view = open_view(shards, "features")
    return {(name, split): _tars(index, split) for name, splits in view.items() for split, index in splits.items()}


def _tars(index: RecordIndex, split: str) -> list[Tar]:
    paths = [index.tar(number) for number in index.blocks]
    keys = [first_key(path) for path in paths]
    return [
        Tar(index.dataset, split, number, path, *facts, max(index.blocks), first, end)
        for (number, facts), path, first, end in zip(index.blocks.items(), paths, keys, [*keys[1:], ""], strict=True)
    ]


def _name(tar: Tar, image_size: int) -> str:
    return f"{image_size}/{tar.dataset}/{block_name(tar.split, tar.number)}"

"""Opening other people's files of tensors: safetensors or pickles, one file or a folder of shards.

Tensors come memory-mapped, one at a time, so that a file costs memory only for what is read of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from tinygptv.ground import digests
from tinygptv.ground.errors import CheckpointError, UserError, brief, true_cause
from tinygptv.ground.file_names import WEIGHTS
from tinygptv.ground.files import read_json, require_room, scratch_folder
from tinygptv.ground.strangers import read_apart

if TYPE_CHECKING:
    import torch

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
READER = Path(__file__).with_name("unpickle.py")
"""The program that reads pickles."""
WHOLE = (WEIGHTS, "pytorch_model.bin")
"""What a Hugging Face folder calls a single file; with ``.index.json`` behind it, the list of its shards."""


class ForeignTensors(Mapping[str, "torch.Tensor"]):
    """Tensors by their own names, read when they are asked for."""

    def __init__(self, path: Path, shard_of: dict[str, Path], others: tuple[str, ...] = ()) -> None:
        self.path = path
        self.others = others
        """What a pickled file holds beside its tensors."""
        self._shard_of = shard_of
        self._open: dict[Path, Any] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        shard = self._shard_of[name]
        if shard not in self._open:
            self._open[shard] = _open_file(shard)[0]
        try:
            return self._open[shard].get_tensor(name)
        except SafetensorError as error:
            if name in self._open[shard].keys():  # noqa: SIM118 (no mapping, but a handle)
                raise _unreadable(error, shard) from None
            raise CheckpointError(
                f"{shard} lacks {name}, which its folder's index puts there; fetch it again"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._shard_of)

    def __len__(self) -> int:
        return len(self._shard_of)


def open_tensors(path: str | Path) -> ForeignTensors:
    """Open a file (``.safetensors``, ``.pth``, ``.pt``, ``.bin``, ``.ckpt``) or a Hugging Face folder.

    A pickle is converted by a child process into a temporary folder (``TMPDIR``), which needs room for it.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or holds more than tensors.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    handle, others = _open_file(path)
    tensors = ForeignTensors(path, dict.fromkeys(handle.keys(), path), others)
    tensors._open[path] = handle
    return tensors


def _open_folder(folder: Path) -> ForeignTensors:
    for name in WHOLE:
        if (folder / name).is_file():
            return open_tensors(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            content = read_json(index)
            shards = content.get("weight_map") if isinstance(content, dict) else None
            if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
                raise CheckpointError(f"{index} has no table `weight_map` from tensors to files; fetch it again")
            for shard in set(shards.values()):
                if Path(shard).name != shard:
                    raise CheckpointError(f"{index} names {shard!r}, which is not a file of its folder")
            return ForeignTensors(folder, {tensor: folder / shard for tensor, shard in shards.items()})
    expected = ", ".join(f"{name}[.index.json]" for name in WHOLE)
    raise CheckpointError(f"{folder} holds no weights; one of {expected} is needed")


def _open_file(path: Path) -> tuple[Any, tuple[str, ...]]:
    """A handle of safetensors, and the names of what a pickle holds beside its tensors."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; name a file of weights or a folder")
    digests.check_file(path)
    if path.suffix == ".safetensors":
        return _map(path, path), ()
    if path.suffix not in PICKLES:
        raise CheckpointError(f"{path} is no file of weights; the endings are .safetensors, {', '.join(PICKLES)}")
    # The mapping outlives its file's name, so that the folder can go at once and nothing is left behind by a crash.
    with scratch_folder() as temporary:
        require_room(temporary, path.stat().st_size)
        target, others = temporary / "tensors.safetensors", temporary / "others.json"
        fix = "fetch it again, or ask for safetensors"
        read_apart(READER, path, target, others, refused=CheckpointError, fix=fix)
        return _map(target, path), tuple(json.loads(others.read_text()))


def _map(path: Path, origin: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _unreadable(error, origin) from None


def _unreadable(error: Exception, path: Path) -> UserError:
    """A file may be whole, and this machine not let it be read."""
    cause = true_cause(error, f"reading {path}")
    return cause or CheckpointError(f"{path} is damaged ({brief(error)}); fetch it again")

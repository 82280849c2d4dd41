"""A program of its own: read one pickled file of tensors, write it as safetensors.

    python unpickle.py IN.pth OUT.safetensors OTHERS.json

A pickle can carry code. torch's restricted unpickler refuses it, but has had holes (CVE-2025-32434, CVE-2026-24747);
so a foreign file is read here, in a process of its own (``ground/strangers.py``).
``OTHERS.json`` lists what the file holds beside the tensors, by name.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tinygptv.ground.errors import CheckpointError, system_error
from tinygptv.ground.strangers import confine, run_apart

GROWTH = 4
"""Bytes of tensors for a byte of the file, at most: tensors may share memory in a pickle and do not in safetensors."""


def main(source: Path, target: Path, others: Path) -> None:
    """Convert one file.

    Raises:
        CheckpointError: the file is damaged, or holds something other than plain tensors.
    """
    size = source.stat().st_size
    torch.set_num_threads(1)  # threads reserve address space
    confine(memory=GROWTH * size, written=GROWTH * size)
    content = read(source)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"holds a value of type {type(content).__name__}, not tensors by name")
    wrapped = isinstance(content.get("model"), Mapping)
    tensors = content["model"] if wrapped else content
    plain = {check_name(name): check_tensor(name, tensor) for name, tensor in tensors.items()}
    total = sum(tensor.numel() * tensor.element_size() for tensor in plain.values())
    if total > GROWTH * size:
        raise CheckpointError(f"claims {total:,} bytes of tensors in a file of {size:,}")
    save_file(unshare(plain), target)
    others.write_text(json.dumps([check_name(name) for name in content if name != "model"] if wrapped else []))


def read(source: Path) -> Any:
    """What the restricted unpickler makes of the file; files of torch 1.6 and later are mapped, not copied."""
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except MemoryError:
        raise CheckpointError("asks for more memory than its size explains") from None
    except Exception as error:
        if system_error(error) is not None:
            raise
        text = str(error)
        if found := re.search(r"GLOBAL ([\w.]+)", text):
            raise CheckpointError(f"holds code or objects ({found[1]}), which were not run") from None
        found = re.search(r"(Unsupported|Can only|Trying to|WeightsUnpickler error: \S)[^\n]*", text)
        detail = found[0] if found else " ".join(text.split())[:100]
        raise CheckpointError(f"is damaged, or no file of tensors ({detail or type(error).__name__})") from None


def check_name(name: Any) -> str:
    """A name is text."""
    if not isinstance(name, str):
        raise CheckpointError(f"names a tensor by a value of type {type(name).__name__}")
    return name


def check_tensor(name: str, tensor: Any) -> torch.Tensor:
    """A tensor is dense and has its values in memory."""
    if not isinstance(tensor, torch.Tensor):
        raise CheckpointError(f"holds no tensor under {name} but a value of type {type(tensor).__name__}")
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise CheckpointError(f"holds a tensor of an unusual kind under {name} ({tensor.layout}, {tensor.device})")
    return tensor.detach()


def unshare(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors without common memory."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        shared = storage in seen or not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.nbytes
        separate[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor
        seen.add(storage)
    return separate


if __name__ == "__main__":
    run_apart(main)

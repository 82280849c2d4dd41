"""Writing safetensors a tensor at a time: 10 GB of weights in other formats never lie in memory twice.

The form: eight bytes with the length of a JSON header (name → format, shape, place), the header, the values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ALIGNMENT = 8
"""Bytes; the values begin at a multiple of it, as safetensors writes them."""


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], formats: Mapping[str, torch.dtype]) -> None:
    """Write the tensors of ``formats`` in these number formats; the bytes depend on names and values only.

    Args:
        path: the file.
        tensors: each is asked for once, and converted and written before the next.
        formats: name → float32, float16 or bfloat16.
    """
    import torch

    codes = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    header, end = {}, 0
    # Wide formats first, so that every value lies at a multiple of its own size.
    names = sorted(formats, key=lambda name: (-formats[name].itemsize, name))
    for name in names:
        start, end = end, end + tensors[name].numel() * formats[name].itemsize
        header[name] = {
            "dtype": codes[formats[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            values = tensors[name].detach().to(formats[name]).contiguous().flatten()
            file.write(values.view(torch.uint8).numpy().data)

"""Weights written a tensor at a time are safetensors like any other."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors.torch import load_file

from tinygptv.model.streaming import write_tensors

TENSORS = {
    "b": torch.randn(3, 5),
    "a": torch.randn(7).half(),
    "scalar": torch.tensor(2.5),
    "turned": torch.randn(4, 6).T,
    "none": torch.empty(0, 4),
}
FORMATS = {
    "a": torch.float32,
    "b": torch.bfloat16,
    "scalar": torch.float32,
    "turned": torch.bfloat16,
    "none": torch.float16,
}


def test_names_formats_and_values(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, FORMATS)
    loaded = load_file(path)
    assert loaded.keys() == TENSORS.keys()
    for name, tensor in loaded.items():
        assert tensor.dtype == FORMATS[name]
        assert torch.equal(tensor, TENSORS[name].to(FORMATS[name]))


def test_every_value_is_aligned(tmp_path):
    """``a`` has an odd count of values: what comes after it must still begin at a multiple of its size."""
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS | {"c": torch.randn(3)}, FORMATS | {"c": torch.bfloat16})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert (8 + length) % 8 == 0
    for entry in json.loads(content[8 : 8 + length]).values():
        assert entry["data_offsets"][0] % {"F32": 4, "BF16": 2, "F16": 2}[entry["dtype"]] == 0


def test_the_order_of_names_does_not_matter(tmp_path):
    write_tensors(tmp_path / "one", TENSORS, FORMATS)
    write_tensors(tmp_path / "two", dict(reversed(TENSORS.items())), dict(reversed(FORMATS.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


class Counting(Mapping[str, torch.Tensor]):
    """Makes a tensor each time it is asked for one, and knows how many are alive."""

    def __init__(self, count: int) -> None:
        self.count, self.alive, self.most = count, 0, 0

    def __getitem__(self, name: str) -> torch.Tensor:
        import weakref

        tensor = torch.full((4,), float(name))
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(tensor, self.end)
        return tensor

    def end(self) -> None:
        self.alive -= 1

    def __iter__(self):
        return iter([str(n) for n in range(self.count)])

    def __len__(self) -> int:
        return self.count


def test_one_tensor_at_a_time(tmp_path):
    tensors = Counting(20)
    write_tensors(tmp_path / "x", tensors, dict.fromkeys(tensors, torch.bfloat16))
    assert tensors.most <= 2

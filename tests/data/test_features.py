"""Cached features: what is written is read row by row, equal content is equal bytes, and damage is named."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tinygptv.data.features import IMAGES, ROWS, FeatureBlock, FeatureReader, write_block, write_view
from tinygptv.data.index import ImagePlace
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, sha256_file, write_json

QUERIES, WIDTH = 4, 8
EMPTY = torch.empty(0, QUERIES, WIDTH)
ENCODER = "e" * 64
SET = "cats"


def tar(number: int) -> str:
    return f"{number}" * 64


def rows(*names: str, dtype: torch.dtype = torch.float32) -> dict[bytes, torch.Tensor]:
    """Rows that follow from the images' names; one of them is not contiguous."""
    made = {}
    for name in names:
        source = torch.Generator().manual_seed(len(made) + sum(name.encode()))
        row_QD = torch.randn(QUERIES, WIDTH, generator=source).to(dtype)
        made[hashlib.sha256(name.encode()).digest()] = row_QD if made else row_QD.T.contiguous().T
    return made


@pytest.fixture
def stored() -> list[dict[bytes, torch.Tensor]]:
    """Five images in two blocks, and a block of text alone."""
    return [rows("a", "b", "c"), rows("d", "e"), {}]


@pytest.fixture
def features(stored: list[dict[bytes, torch.Tensor]], tmp_path: Path) -> Path:
    """An output of the step for one stage."""
    folder = tmp_path / "features" / "64" / SET
    folder.mkdir(parents=True)
    blocks: dict[int, dict[str, Any]] = {}
    for number, block in enumerate(stored):
        path = folder / f"train-{number:06d}.safetensors"
        write_block(path, block, EMPTY, tar=tar(number), encoder=ENCODER)
        blocks[number] = {"sha256": sha256_file(path), "bytes": path.stat().st_size, "tar": tar(number)}
    write_view(tmp_path / "features", "stage1", 64, ENCODER, {SET: blocks}, {})
    return tmp_path / "features"


def path_of(features: Path, number: int) -> Path:
    return features / "64" / SET / f"train-{number:06d}.safetensors"


def test_features_go_round(stored: list[dict[bytes, torch.Tensor]], features: Path) -> None:
    reader = FeatureReader(features, "stage1")
    reader.check(SET, {number: tar(number) for number in range(3)})
    everything = [(number, image, row_QD) for number, block in enumerate(stored) for image, row_QD in block.items()]
    for number, image, row_QD in reversed(everything):
        assert torch.equal(reader.read(SET, number, image), row_QD)
    drawn = [everything[4], everything[0], everything[4]]
    found_BQD = reader.batch([ImagePlace(SET, number, image, 0) for number, image, _ in drawn])
    assert torch.equal(found_BQD, torch.stack([row_QD for *_, row_QD in drawn]))
    reader.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_sorted_by_their_image_and_keep_their_number_format(tmp_path: Path, dtype: torch.dtype) -> None:
    made = rows(*"abcdefgh", dtype=dtype)
    write_block(tmp_path / "x", made, EMPTY.to(dtype), tar=tar(1), encoder=ENCODER)
    block = FeatureBlock(tmp_path / "x")
    assert list(block.images) == sorted(made)
    for image, row_QD in made.items():
        found = block.row(image)
        assert found.dtype == dtype and torch.equal(found, row_QD)


def test_equal_features_are_equal_bytes_in_every_process(tmp_path: Path) -> None:
    made = rows(*"abc")
    write_block(tmp_path / "one", made, EMPTY, tar=tar(1), encoder=ENCODER)
    write_block(tmp_path / "two", dict(reversed(made.items())), EMPTY, tar=tar(1), encoder=ENCODER)
    assert sha256_file(tmp_path / "one") == sha256_file(tmp_path / "two")
    code = (
        "import torch; from pathlib import Path; from tinygptv.data.features import write_block; "
        f"write_block(Path({str(tmp_path / 'three')!r}), {{}}, torch.empty(0, 4, 8), tar='t', encoder='e')"
    )
    digests = set()
    for _ in range(4):  # a header of several keys has them in another order in every process
        subprocess.run([sys.executable, "-c", code], check=True)
        digests.add(sha256_file(tmp_path / "three"))
    assert len(digests) == 1


def test_a_missing_image_is_named(features: Path) -> None:
    image = hashlib.sha256(b"none").digest()
    with pytest.raises(DataError, match=rf"no features of image {image.hex()}; run `dvc repro features`"):
        FeatureReader(features, "stage1").batch([ImagePlace(SET, 0, image, 0)])


@pytest.mark.parametrize("tensor", [ROWS, IMAGES])
def test_a_damaged_row_is_named(features: Path, stored: list[dict[bytes, torch.Tensor]], tensor: str) -> None:
    path = path_of(features, 0)
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    start, _ = json.loads(content[8 : 8 + length])[tensor]["data_offsets"]
    content[8 + length + start] ^= 1
    path.write_bytes(content)
    first, second, third = sorted(stored[0])
    reader = FeatureReader(features, "stage1")
    for image in (second, third):
        assert torch.equal(reader.read(SET, 0, image), stored[0][image])
    named = {
        ROWS: "the row of image .* is not what was written.*dvc repro -f -s features",
        IMAGES: "has no features of",
    }
    with pytest.raises(DataError, match=rf"train-000000\.safetensors.*{named[tensor]}"):
        reader.read(SET, 0, first)


def test_a_block_that_cannot_be_opened_is_named(features: Path, stored: list[dict[bytes, torch.Tensor]]) -> None:
    path, image = path_of(features, 1), next(iter(stored[1]))
    content = path.read_bytes()
    renamed = [content.replace(name, name.upper()) for name in (b"made_of", ROWS.encode())]
    for damage in (content[:-1], b"", *renamed):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=r"train-000001\.safetensors is damaged .*dvc repro -f -s features"):
            FeatureReader(features, "stage1").read(SET, 1, image)
    path.unlink()
    with pytest.raises(DataError, match=r"train-000001\.safetensors is missing; .*dvc repro -f -s features"):
        FeatureReader(features, "stage1").read(SET, 1, image)


def test_a_block_of_another_tar_or_encoder_is_refused(features: Path, stored: list[dict[bytes, torch.Tensor]]) -> None:
    image = next(iter(stored[0]))
    for made_of in ({"tar": tar(7), "encoder": ENCODER}, {"tar": tar(0), "encoder": "f" * 64}):
        write_block(path_of(features, 0), stored[0], EMPTY, **made_of)
        with pytest.raises(DataError, match=r"train-000000\.safetensors is not the one of the step's view"):
            FeatureReader(features, "stage1").read(SET, 0, image)


def test_the_check_before_the_first_step(features: Path) -> None:
    tars = {number: tar(number) for number in range(3)}
    reader = FeatureReader(features, "stage1")
    reader.check(SET, tars)
    reader.check(SET, {1: tar(1)})
    for other in ({3: tar(3)}, {0: tar(1)}):
        with pytest.raises(DataError, match=r"is not of the shards that are there; run `dvc repro features`"):
            reader.check(SET, tars | other)
    with pytest.raises(DataError, match=r"dogs/train-000000\.safetensors is not of the shards"):
        reader.check("dogs", tars)
    path = path_of(features, 2)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-000002\.safetensors is damaged"):
        reader.check(SET, tars)
    path.unlink()
    with pytest.raises(DataError, match=r"train-000002\.safetensors is missing"):
        reader.check(SET, tars)


def test_a_view_that_is_none_is_refused(features: Path) -> None:
    with pytest.raises(DataError, match=r"views/stage2\.json is missing"):
        FeatureReader(features, "stage2")
    view = features / "views" / "stage1.json"
    write_json(view, {"sets": read_json(view)["sets"]})
    with pytest.raises(DataError, match=r"views/stage1\.json is no view of features"):
        FeatureReader(features, "stage1")


def test_blocks_are_opened_when_they_are_read_and_few_stay_open(
    features: Path, stored: list[dict[bytes, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygptv.data.features.OPEN_BLOCKS", 1)
    opened = []
    reader = FeatureReader(features, "stage1")

    def note(self: FeatureBlock, path: Path, call: Any = FeatureBlock.__init__) -> None:
        opened.append(path.name)
        call(self, path)

    monkeypatch.setattr(FeatureBlock, "__init__", note)
    for number in (0, 0, 1, 1, 0):
        reader.read(SET, number, next(iter(stored[number])))
    assert opened == ["train-000000.safetensors", "train-000001.safetensors", "train-000000.safetensors"]

"""Rows of features: an image alone decides a row's bits, and a row in bfloat16 trains as the float32 one does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.data_sets import picture, sample
from tinygptv.config import Config
from tinygptv.data.feature_rows import RowMaker, Wanted
from tinygptv.data.features import ROWS, FeatureBlock
from tinygptv.data.images import read_image
from tinygptv.data.shards import write_block
from tinygptv.ground import runtime
from tinygptv.model.assembly import assemble
from tinygptv.model.encoding import Pixels
from tinygptv.model.processing import build_image_processor
from tinygptv.model.row_maker import row_maker
from tinygptv.model.vision import TinyGPTVImageEncoder

SIZES = (32, 64)
CPU = torch.device("cpu")


def settings(smoke: Config, batch_size: int, dtype: str = "float32") -> Config:
    features = smoke.features.model_copy(update={"batch_size": batch_size})
    compute = smoke.runtime.model_copy(update={"dtype": dtype, "threads": 1})
    return smoke.model_copy(update={"features": features, "runtime": compute})


@pytest.fixture(params=["float32", "bfloat16"])
def maker(smoke: Config, backbones: Path, request: pytest.FixtureRequest) -> RowMaker:
    """It encodes four images at once."""
    return row_maker(settings(smoke, 4, request.param), backbones, SIZES, CPU)


def make(maker: RowMaker, folder: Path, numbers: range, known: tuple[Path, ...] = ()) -> tuple[FeatureBlock, int]:
    """The block of a tar with these images at 64 pixels, and how many of them were encoded."""
    folder.mkdir()
    samples = sorted((sample(number, "cats") for number in numbers), key=lambda pair: pair[0].key)
    tar = folder / "train-000000.tar"
    digest, _ = write_block(tar, folder / "rows.npy", samples)
    made = maker.make(tar, digest, "e" * 64, [Wanted(64, folder / "x.safetensors", known)])
    block = FeatureBlock(folder / "x.safetensors")
    assert made[64].images == tuple(block.images) and len(block.images) == len(numbers)
    return block, made[64].encoded


def test_neighbours_places_and_the_filling_of_a_batch_change_no_bit(maker: RowMaker, tmp_path: Path) -> None:
    whole, _ = make(maker, tmp_path / "whole", range(23))
    for name, numbers in (("part", range(5, 12)), ("one", range(7, 8)), ("full", range(4, 8))):
        block, encoded = make(maker, tmp_path / name, numbers)
        assert encoded == len(numbers)
        for image in block.images:
            assert torch.equal(block.row(image), whole.row(image))


def test_the_encoder_sees_one_shape_and_zeros_where_no_image_is(
    maker: RowMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def forward(self: TinyGPTVImageEncoder, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        seen.append(pixels_BCHW.clone())
        return whole(self, pixels_BCHW)

    whole = TinyGPTVImageEncoder.forward
    monkeypatch.setattr(TinyGPTVImageEncoder, "forward", forward)
    make(maker, tmp_path / "x", range(6))
    assert [tuple(pixels_BCHW.shape) for pixels_BCHW in seen] == [(4, 3, 64, 64)] * 2
    assert seen[1][:2].ne(0).any() and not seen[1][2:].any()


def test_known_rows_are_copied_and_damaged_ones_are_encoded(maker: RowMaker, tmp_path: Path) -> None:
    expected, _ = make(maker, tmp_path / "expected", range(10))
    old, _ = make(maker, tmp_path / "old", range(6))
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(old.path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    start, _ = json.loads(content[8 : 8 + length])[ROWS]["data_offsets"]
    content[8 + length + start] ^= 1  # in the first row
    damaged.write_bytes(content)
    gone = tmp_path / "gone.safetensors"
    for number, (known, most) in enumerate(
        [((old.path,), 4), ((gone, damaged, old.path), 4), ((damaged,), 5), ((gone,), 10)]
    ):
        block, encoded = make(maker, tmp_path / str(number), range(10), known)
        assert encoded == most
        assert block.path.read_bytes() == expected.path.read_bytes()


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_the_processors(size: int) -> None:
    processor = build_image_processor(size)
    pixels = Pixels(processor)
    noise = torch.randint(0, 256, (97, 61, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for image in (Image.fromarray(noise.numpy()), read_image(picture(3)), read_image(picture(5, (size, size)))):
        expected_CHW = processor([image], return_tensors="pt")["pixel_values"][0]
        assert torch.equal(pixels(image), expected_CHW)


def test_a_row_in_bfloat16_gives_the_loss_and_the_gradient_of_the_float32_row(smoke: Config, backbones: Path) -> None:
    """Training in bfloat16 runs under autocast, which rounds a float32 row to the one that is stored."""
    config = settings(smoke, 1, "bfloat16")
    model = assemble(config, backbones, with_tower=False).eval()
    maker = row_maker(config, backbones, SIZES, CPU)
    stored_NQD = maker.encode(maker.pixels[64](read_image(picture(1)))[None])
    assert stored_NQD.dtype == torch.bfloat16
    rounded_NQD = stored_NQD.float()
    exact_NQD = rounded_NQD * (1 + 2.0**-12)
    assert torch.equal(exact_NQD.bfloat16(), stored_NQD) and not torch.equal(exact_NQD, rounded_NQD)
    slots = config.model.qformer.num_query_tokens
    ids_BT = torch.tensor([[config.model.text.vocab_size] * slots + [5, 6, 7, 8]])
    found = []
    for features_NQD in (exact_NQD, rounded_NQD, stored_NQD):
        model.zero_grad()
        with runtime.autocast(model):
            loss = model(
                input_ids=ids_BT, labels=ids_BT.clamp(max=9), image_features=features_NQD, use_cache=False
            ).loss
        loss.backward()
        found.append(
            {"loss": loss.detach()} | {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
        assert found[-1]["projector.linear_1.weight"].any()
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        assert all(torch.equal(other[name], tensor) for name, tensor in found[0].items())


MEMORY = """
import resource, sys
from pathlib import Path

import torch

from tests.data_sets import sample
from tinygptv.data.feature_rows import RowMaker, Wanted
from tinygptv.data.shards import write_block

folder, count = Path(sys.argv[1]), int(sys.argv[2])
samples = sorted((sample(number, "cats", (640, 480)) for number in range(count)), key=lambda pair: pair[0].key)
digest, _ = write_block(folder / "x.tar", folder / "x.npy", samples)
del samples
torch.set_num_threads(1)
maker = RowMaker(
    encode=lambda pixels_BCHW: pixels_BCHW[:, :2, 0, :4].clone(),
    pixels={32: lambda image: torch.full((3, 32, 32), float(image.getpixel((0, 0))[0]))},
    empty=torch.empty(0, 2, 4),
    batch_size=4,
    threads=2,
)
made = maker.make(folder / "x.tar", digest, "e", [Wanted(32, folder / "x.safetensors", ())])
assert made[32].encoded == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    peaks = []
    for count in (200, 1000):
        folder = tmp_path / str(count)
        folder.mkdir()
        command = [sys.executable, "-c", MEMORY, str(folder), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        peaks.append(int(done.stdout) * 1024)
    image = 640 * 480 * 3
    assert peaks[1] - peaks[0] < 40 * image, "800 more images, decoded, have twenty times as much"

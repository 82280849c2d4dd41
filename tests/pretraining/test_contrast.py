"""Pretraining of the image encoder: boxes that move with their pixels, positions that can be found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from tinygptv.config import Config
from tinygptv.data import shards
from tinygptv.data.records import ImageInfo, ImageRecord, ImageSample, Record, Turn
from tinygptv.ground.errors import DataError
from tinygptv.model.profile import from_profile
from tinygptv.model.vision import TinyGPTVImageEncoder
from tinygptv.pretraining import contrast


@pytest.fixture(scope="module")
def samples(small_shards: Path) -> list[ImageSample]:
    return list(shards.read_samples(sorted(small_shards.glob("train-*.tar"))))


@pytest.fixture(scope="module")
def images(samples: list[ImageSample]) -> contrast.CaptionedImages:
    return contrast.captioned_images(samples)


def box_of(pixels_HWC: torch.Tensor, background_C: torch.Tensor) -> list[int]:
    """The bounds of what is not background; right and bottom are exclusive."""
    rows, columns = (pixels_HWC != background_C).any(dim=-1).nonzero().T
    return [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def test_boxes_are_the_bounds_of_the_pixels(images: contrast.CaptionedImages, samples: list[ImageSample]) -> None:
    assert 0 < len(images) <= len(samples)
    for i in range(len(images)):
        assert images.boxes_BE[i].tolist() == box_of(images.pixels_BHWC[i], images.background_BC[i])
    answers = {r.turns[0].answer for s in samples for r in s.record.records if r.task == "caption"}
    assert set(images.captions) <= answers
    assert list(images.captions) == sorted(set(images.captions))


def test_boxes_move_with_their_pixels(images: contrast.CaptionedImages) -> None:
    generator = torch.Generator().manual_seed(0)
    index_B = torch.arange(len(images)).repeat(8)
    pixels_BHWC, boxes_BE = contrast.augment(images, index_B, generator)
    assert pixels_BHWC.dtype == torch.uint8
    moved = mirrored = 0
    for pixels_HWC, box_E, i in zip(pixels_BHWC, boxes_BE, index_B.tolist(), strict=True):
        background_C, old = images.background_BC[i], images.boxes_BE[i].tolist()
        assert box_of(pixels_HWC, background_C) == box_E.tolist()
        left, top, right, bottom = box_E.tolist()
        shape_HWC = images.pixels_BHWC[i][old[1] : old[3], old[0] : old[2]]
        found_HWC = pixels_HWC[top:bottom, left:right]
        straight, flipped = torch.equal(found_HWC, shape_HWC), torch.equal(found_HWC, shape_HWC.flip(1))
        assert straight or flipped, "a shape may be moved and mirrored, nothing else"
        moved += box_E.tolist() != old
        mirrored += not straight
    assert moved > len(index_B) * 0.8
    assert mirrored > 0, "a triangle that leans shows that images are mirrored"


def test_augmentation_is_a_function_of_the_generator(images: contrast.CaptionedImages) -> None:
    index_B = torch.arange(10)

    def draw(seed: int) -> tuple[torch.Tensor, ...]:
        return contrast.augment(images, index_B, torch.Generator().manual_seed(seed))

    assert all(map(torch.equal, draw(1), draw(1)))
    assert not torch.equal(draw(1)[1], draw(2)[1])


def test_a_shape_with_a_mark_is_mirrored_and_stays_inside() -> None:
    pixels_HWC = torch.zeros(8, 8, 3, dtype=torch.uint8)
    pixels_HWC[2:4, 1:4] = 9
    pixels_HWC[2, 1] = 200  # top left of the shape
    images = contrast.CaptionedImages(
        pixels_HWC[None], torch.zeros(1, 3, dtype=torch.uint8), torch.tensor([[1, 2, 4, 4]]), ("a",), torch.tensor([0])
    )
    pixels_BHWC, boxes_BE = contrast.augment(
        images, torch.zeros(300, dtype=torch.long), torch.Generator().manual_seed(1)
    )
    corners = set()
    for pixels_HWC, (left, top, right, bottom) in zip(pixels_BHWC, boxes_BE.tolist(), strict=True):
        assert box_of(pixels_HWC, torch.zeros(3)) == [left, top, right, bottom]
        assert (right - left, bottom - top) == (3, 2)
        corners.add(int(pixels_HWC[top, left, 0]) == 200)
    assert corners == {True, False}
    assert boxes_BE.min() == 0
    assert boxes_BE.max() == 8


def test_the_background_is_the_most_frequent_colour() -> None:
    pixels_HWC = torch.zeros(4, 4, 3, dtype=torch.uint8)
    pixels_HWC[:2, :3] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    assert contrast.background(pixels_HWC).tolist() == [0, 0, 0]
    pixels_HWC[2:] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    assert contrast.background(pixels_HWC).tolist() == [1, 2, 3]


def test_the_background_is_what_torch_finds_row_by_row() -> None:
    """The first of the most frequent colours, by red, green and blue."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        pixels_HWC = torch.randint(0, 3, (4, 4, 3), generator=generator, dtype=torch.uint8) * 120
        colours_NC, counts_N = pixels_HWC.flatten(0, 1).unique(dim=0, return_counts=True)
        assert torch.equal(contrast.background(pixels_HWC), colours_NC[counts_N.argmax()])


def test_images_without_caption_or_box_are_not_used() -> None:
    record = Record("a", "vqa", (Turn("what?", "red"),))
    sample = ImageSample(
        ImageRecord("a", ImageInfo("a.png", 4, 4, "0" * 64), "s", "l", (record,)), Image.new("RGB", (4, 4)), b""
    )
    with pytest.raises(DataError, match="no training image has both"):
        contrast.captioned_images([sample])


@pytest.mark.parametrize("size", [(8, 8), (4, 8)])
def test_images_of_other_sizes_are_refused_by_name(samples: list[ImageSample], size: tuple[int, int]) -> None:
    other = ImageSample(replace(samples[1].record, key="other"), Image.new("RGB", size), b"")
    with pytest.raises(DataError, match=rf"other: {size[0]}x{size[1]} pixels; stand-ins are made of square images"):
        contrast.captioned_images([samples[0], other])


def test_samples_without_an_image_are_passed_over(samples: list[ImageSample]) -> None:
    text = ImageSample(replace(samples[1].record, image=None), None, b"")
    assert len(contrast.captioned_images([*samples[:3], text])) == len(contrast.captioned_images(samples[:3]))


@pytest.mark.parametrize(("side", "width"), [(4, 32), (8, 64)])
def test_the_sine_grid_tells_every_place_apart(side: int, width: int) -> None:
    grid_PD = contrast.sine_grid(side, width)
    assert grid_PD.shape == (side * side, width)
    assert grid_PD.square().mean().item() == pytest.approx(1.0, abs=1e-5)
    assert torch.cdist(grid_PD, grid_PD).fill_diagonal_(9.0).min() > 0.5
    rows_SSD = grid_PD.unflatten(0, (side, side))
    half = width // 2
    assert_close(rows_SSD[:, 0, :half], rows_SSD[:, -1, :half])  # the first half is the row, whatever the column
    assert_close(rows_SSD[0, :, half:], rows_SSD[-1, :, half:])


def test_similarity_is_the_best_cosine_over_the_queries() -> None:
    query_BQD = torch.tensor([[[2.0, 0.0], [0.0, 3.0]], [[1.0, 1.0], [-1.0, 0.0]]])
    phrase_ND = torch.tensor([[5.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    expected = [[1.0, 1.0, -(2**-0.5)], [2**-0.5, 2**-0.5, 2**-0.5]]
    assert_close(contrast.similarity(query_BQD, phrase_ND), torch.tensor(expected))


def test_the_loss_prefers_the_right_marks(smoke: Config) -> None:
    settings = smoke.backbones.vision
    torch.manual_seed(0)
    phrases = contrast.Phrases(["a red circle", "a blue circle"], 64, settings, std=0.2)
    marks_E = torch.tensor([10, 20, 40, 60])
    with torch.no_grad():
        edges_ED = phrases.edges_END[torch.arange(4), marks_E]
        query_BQD = torch.cat([phrases.captions_ND()[1:2], edges_ED])[None]

        def loss(caption: int, marks: torch.Tensor) -> float:
            return contrast.contrast_loss(query_BQD, phrases, torch.tensor([caption]), marks[None], settings).item()

        right = loss(1, marks_E)
        assert right < loss(0, marks_E)
        assert right < loss(1, marks_E + 2) < loss(1, marks_E + 30)


@pytest.mark.parametrize("tower", ["eva", "clip"])
def test_pretraining_lowers_the_loss_and_repeats_itself(
    images: contrast.CaptionedImages, smoke: Config, tower: str
) -> None:
    sizes = smoke.model.model_copy(update={"vision": smoke.model.vision.model_copy(update={"tower": tower})})
    settings = smoke.backbones.vision.model_copy(update={"steps": 14, "batch_size": 16})
    size = smoke.model.vision.image_size

    def normalise(pixels_BHWC: torch.Tensor) -> torch.Tensor:
        pixels_BCHW = pixels_BHWC.permute(0, 3, 1, 2).float() / 128 - 1
        return torch.nn.functional.interpolate(pixels_BCHW, (size, size), mode="area")

    def run(seed: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        encoder = TinyGPTVImageEncoder(from_profile(sizes, end_of_text_id=0))
        losses: list[float] = []
        contrast.pretrain(encoder, images, settings, seed, normalise, lambda _, loss: losses.append(loss))
        return losses, encoder.state_dict()

    losses, weights = run(1)
    assert len(losses) == settings.steps
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.2
    again, same = run(1)
    assert again == losses
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert run(2)[0] != losses

"""Image-text contrast for the stand-in image encoder.

An image must be nearer to its own phrases than to all others of the kind. Phrases are its caption and the four edges of
its shape's box ("left 23"), so that the queries carry what and where. Similarity is the best over the queries, as in
BLIP-2's image-text contrast.

Shapes: B images, C colours, H height, W width, Q queries, D width, N phrases of a kind, E edges (4), P positions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 (torch's usual name)

from tinygptv.config import VisionPretraining
from tinygptv.data.records import ImageSample
from tinygptv.ground.errors import DataError
from tinygptv.model.vision import TinyGPTVImageEncoder
from tinygptv.pretraining.optimizers import MuonAdamW

EDGES = 4
MARKS = 101
"""An edge lies at 0 to 100 hundredths of the image."""


@dataclass(frozen=True, slots=True)
class CaptionedImages:
    """Training images that have a caption and one box."""

    pixels_BHWC: torch.Tensor
    """uint8."""
    background_BC: torch.Tensor
    """The most frequent colour of each image, uint8."""
    boxes_BE: torch.Tensor
    """Left, top, right, bottom in pixels; right and bottom are exclusive."""
    captions: tuple[str, ...]
    """The different captions."""
    caption_B: torch.Tensor
    """Index of each image's caption."""

    def __len__(self) -> int:
        return len(self.caption_B)


def captioned_images(samples: Iterable[ImageSample]) -> CaptionedImages:
    """Collect the samples whose records give a caption and exactly one grounded box.

    Raises:
        DataError: there is none, or they are not square and of one size.
    """
    pixels: list[NDArray[np.uint8]] = []
    boxes, captions = [], []
    for sample in samples:
        answers = {r.task: r.turns[0].answer for r in sample.record.records if r.task == "caption"}
        grounded = [r.boxes[0] for r in sample.record.records if r.task == "grounding" and len(r.boxes) == 1]
        if sample.image is not None and answers and grounded:
            size = sample.image.size
            if size != (pixels[0].shape[0] if pixels else size[0],) * 2:
                raise DataError(
                    f"{sample.key}: {size[0]}x{size[1]} pixels; stand-ins are made of square images of one size, so "
                    "take its data set out of backbones.data, or start from finished backbones (docs/backbones.md)"
                )
            pixels.append(np.asarray(sample.image))
            # Hundredths are truncated pixels; the ceiling gives the pixel back up to 100 pixels a side.
            boxes.append([math.ceil(v * s / 100) for v, s in zip(grounded[0], size * 2, strict=True)])
            captions.append(answers["caption"])
    if not captions:
        raise DataError(
            "no training image has both a caption and a box; pretraining needs some in the sets of backbones.data"
        )
    places = {caption: place for place, caption in enumerate(sorted(set(captions)))}
    pixels_BHWC = torch.from_numpy(np.stack(pixels))
    return CaptionedImages(
        pixels_BHWC,
        torch.stack([background(image_HWC) for image_HWC in pixels_BHWC]),
        torch.tensor(boxes),
        tuple(places),
        torch.tensor([places[caption] for caption in captions]),
    )


def background(pixels_HWC: torch.Tensor) -> torch.Tensor:
    """The most frequent colour of an image."""
    # One number a pixel, because finding the different rows of a matrix takes torch thirty times as long.
    red_HW, green_HW, blue_HW = pixels_HWC.int().unbind(dim=-1)
    colour_N, counts_N = (red_HW << 16 | green_HW << 8 | blue_HW).unique(return_counts=True)
    most = colour_N[counts_N.argmax()]
    return torch.stack([most >> 16, most >> 8 & 255, most & 255]).to(pixels_HWC.dtype)


def augment(images: CaptionedImages, index_B: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Mirror half of the images and move each to a random place where its shape stays inside.

    Uncovered pixels get the background's colour.

    Returns:
        Pixels [B, H, W, C] and boxes [B, E].
    """
    pixels_BHWC, size = images.pixels_BHWC[index_B], images.pixels_BHWC.shape[1]
    count = len(index_B)
    left, top, right, bottom = images.boxes_BE[index_B].T
    mirrored = torch.rand(count, generator=generator) < 0.5
    left, right = torch.where(mirrored, size - right, left), torch.where(mirrored, size - left, right)
    new_left = (torch.rand(count, generator=generator) * (size - (right - left) + 1)).long()
    new_top = (torch.rand(count, generator=generator) * (size - (bottom - top) + 1)).long()
    move_x, move_y = new_left - left, new_top - top

    axis = torch.arange(size)
    from_y, from_x = axis[None] - move_y[:, None], axis[None] - move_x[:, None]
    inside_y, inside_x = (from_y >= 0) & (from_y < size), (from_x >= 0) & (from_x < size)
    from_x = torch.where(mirrored[:, None], size - 1 - from_x, from_x)
    moved_BHWC = pixels_BHWC[
        torch.arange(count)[:, None, None],
        from_y.clamp(0, size - 1)[:, :, None],
        from_x.clamp(0, size - 1)[:, None],
    ]
    inside_BHW1 = (inside_y[:, :, None] & inside_x[:, None]).unsqueeze(-1)
    moved_BHWC = torch.where(inside_BHW1, moved_BHWC, images.background_BC[index_B][:, None, None])
    return moved_BHWC, torch.stack([left + move_x, top + move_y, right + move_x, bottom + move_y], dim=1)


class Phrases(nn.Module):
    """The text side: a caption is the sum of its words, an edge has one vector for each hundredth."""

    def __init__(self, captions: Sequence[str], width: int, settings: VisionPretraining, std: float) -> None:
        super().__init__()
        words = sorted({word for caption in captions for word in re.findall(r"\w+", caption)})
        counts = torch.tensor([[re.findall(r"\w+", caption).count(word) for word in words] for caption in captions])
        self.counts_NW: torch.Tensor
        self.register_buffer("counts_NW", counts.float())
        self.words_WD = nn.Parameter(torch.randn(len(words), width) * std)
        # Neighbouring marks start alike, so that what is learned of one serves the next.
        marks = torch.arange(float(MARKS))
        kernel = (-(marks[:, None] - marks[None]).square() / (2 * settings.edge_smoothing**2)).exp()
        kernel = kernel / kernel.norm(dim=1, keepdim=True)
        self.edges_END = nn.Parameter(kernel @ torch.randn(EDGES, MARKS, width) * std)
        self.log_scales = nn.Parameter(torch.tensor([settings.caption_scale, settings.edge_scale]).log())

    def captions_ND(self) -> torch.Tensor:
        """Vectors of the captions."""
        return self.counts_NW @ self.words_WD


def similarity(query_BQD: torch.Tensor, phrase_ND: torch.Tensor) -> torch.Tensor:
    """Cosine of each image and phrase, the best over the queries [B, N]."""
    return (F.normalize(query_BQD, dim=-1) @ F.normalize(phrase_ND, dim=-1).T).amax(dim=1)


def contrast_loss(
    query_BQD: torch.Tensor,
    phrases: Phrases,
    caption_B: torch.Tensor,
    marks_BE: torch.Tensor,
    settings: VisionPretraining,
) -> torch.Tensor:
    """Cross-entropy over all captions, plus that over all marks of each edge with a little blur round the true one."""
    caption_scale, edge_scale = phrases.log_scales.exp()
    caption = F.cross_entropy(similarity(query_BQD, phrases.captions_ND()) * caption_scale, caption_B)
    edge_BEN = similarity(query_BQD, phrases.edges_END.flatten(0, 1)).unflatten(1, (EDGES, MARKS)) * edge_scale
    blur = -(torch.arange(MARKS) - marks_BE[..., None]).float().square() / (2 * settings.edge_blur**2)
    edge = -(blur.softmax(dim=-1) * edge_BEN.log_softmax(dim=-1)).sum(dim=-1).mean()
    return caption + settings.edge_weight * edge


def place_marks(encoder: TinyGPTVImageEncoder, settings: VisionPretraining) -> None:
    """Start values that let a small tower see place and shape.

    Fresh position embeddings drown beside the patches and location is not learned at all; a sine-cosine grid of
    ``position_scale`` is found again by the attention. All of it trains on.
    """
    embeddings = encoder.vision_model.embeddings
    with torch.no_grad():
        embeddings.class_embedding.normal_()
        embeddings.patch_embedding.weight.normal_(std=settings.patch_std)
        side = math.isqrt(embeddings.num_patches)
        encoder.position_table_PD[1:] = settings.position_scale * sine_grid(side, embeddings.embed_dim)
        encoder.position_table_PD[:1] = 0.0


def sine_grid(side: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column, half a period to four over the image, unit variance [P, D]."""
    frequencies = math.pi * 2 ** torch.linspace(-1, 2, width // 4)
    angles = (torch.arange(side) + 0.5)[:, None] / side * frequencies
    axis_SD = torch.cat([angles.sin(), angles.cos()], dim=1) * math.sqrt(2)
    grid = torch.cat([axis_SD[:, None].expand(-1, side, -1), axis_SD[None].expand(side, -1, -1)], dim=-1)
    return grid.flatten(0, 1)  # rows, columns, D -> P, D


def pretrain(
    encoder: TinyGPTVImageEncoder,
    images: CaptionedImages,
    settings: VisionPretraining,
    seed: int,
    normalise: Callable[[torch.Tensor], torch.Tensor],
    on_step: Callable[[int, float], None],
) -> None:
    """Train the encoder in place.

    Args:
        encoder: fresh; its widths decide those of the text side.
        images: training images only.
        settings: `backbones.vision` of the configuration.
        seed: of order and augmentation.
        normalise: uint8 pixels [B, H, W, C] to what the tower sees [B, C, H, W].
        on_step: called with the count of steps done and the loss.
    """
    generator = torch.Generator().manual_seed(seed)
    width, std = encoder.config.qformer_config.hidden_size, encoder.config.initializer_range
    phrases = Phrases(images.captions, width, settings, std)
    place_marks(encoder, settings)
    encoder.eval()  # no dropout: the stand-ins are small and see each image about ten times
    optimizer = MuonAdamW([*encoder.named_parameters(), *prefixed(phrases, "embed_phrases")], settings, ends=())
    size = images.pixels_BHWC.shape[1]
    order = torch.empty(0, dtype=torch.long)
    for step in range(settings.steps):
        while len(order) < settings.batch_size:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        index_B, order = order[: settings.batch_size], order[settings.batch_size :]
        pixels_BHWC, boxes_BE = augment(images, index_B, generator)
        marks_BE = (100 * boxes_BE).div(size, rounding_mode="floor")
        loss = contrast_loss(encoder(normalise(pixels_BHWC)), phrases, images.caption_B[index_B], marks_BE, settings)
        optimizer.step(step, loss)
        on_step(step + 1, loss.item())


def prefixed(module: nn.Module, prefix: str) -> list[tuple[str, nn.Parameter]]:
    """A module's parameters under a prefix; ``embed`` in it keeps them from Muon."""
    return [(f"{prefix}.{name}", parameter) for name, parameter in module.named_parameters()]

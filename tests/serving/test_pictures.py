"""Pictures that wait are those that the model's own image processor would make, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.serving.helpers import encoded
from tinygptv.data.images import read_image
from tinygptv.serving.limits import ServiceLimits
from tinygptv.serving.pictures import read_picture


@pytest.mark.parametrize("size", [(24, 24), (64, 64), (301, 7), (4, 500), (5, 4), (640, 480)])
@pytest.mark.parametrize(("mode", "form"), [("RGB", "PNG"), ("L", "PNG"), ("RGBA", "WEBP"), ("CMYK", "JPEG")])
def test_nothing_is_lost(processor, models, one, size, mode, form):
    channels = {"RGB": 3, "L": 1, "RGBA": 4, "CMYK": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    content = encoded(Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels, mode), form)
    loaded = models.get(one)
    small = read_picture(content, loaded.size, loaded.resample, ServiceLimits())
    assert small.size == (loaded.size["width"], loaded.size["height"])
    made, expected = (
        processor.image_processor([image], return_tensors="pt")["pixel_values"].numpy()
        for image in (small, read_image(content))
    )
    assert np.array_equal(made, expected)

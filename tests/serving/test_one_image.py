"""One image, one meaning: the pixels that reach the image encoder, by every path that a file can take."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
import torch
from PIL import Image
from transformers import pipeline

from tests.data.test_images import encoded, exif, lying, png_of_16_bits, swapped_profile, upright
from tests.serving.helpers import data_url, post_all, question, said, talk
from tinygptv.data.images import read_image
from tinygptv.data.record_json import parse_sample
from tinygptv.model.processing import build_image_processor

QUESTION = "[vqa] what colour is the circle?"


def hidden() -> Image.Image:
    """Colours under alpha that nobody sees."""
    picture = upright().convert("RGBA")
    picture.paste((0, 128, 0, 0), (0, 0, 20, 20))
    return picture


FILES = {
    **{f"orientation {n}": encoded(lying(n), "JPEG", quality=95, exif=exif(n)) for n in (3, 6, 8)},
    "alpha": encoded(hidden(), "PNG"),
    "alpha webp": encoded(hidden(), "WEBP"),
    "palette": encoded(upright().convert("P"), "PNG", transparency=1),
    "grey 16": png_of_16_bits(0, (0x40FF,)),
    "cmyk": encoded(upright().convert("CMYK"), "JPEG", quality=95),
    "profile": encoded(upright(), "JPEG", quality=95, icc_profile=swapped_profile()),
}


def sample_of(content: bytes) -> bytes:
    """A record as its author would write it, with the size as seen."""
    seen = read_image(content)
    form = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}[Image.open(io.BytesIO(content)).format]
    image = {"file": f"a.{form}", "sha256": hashlib.sha256(content).hexdigest()}
    records = [{"id": "a-0", "task": "vqa", "turns": [{"question": "why", "answer": "so"}], "boxes": []}]
    size = {"width": seen.width, "height": seen.height}
    return json.dumps({"image": image | size, "source": "s", "licence": "l", "records": records}).encode()


@pytest.fixture
def seen_pixels(known):
    """What comes to the image encoder of the first model."""
    model, pixels = known["one"], []
    hook = model.model.image_encoder.register_forward_pre_hook(lambda _, given: pixels.append(given[0].clone()))
    yield pixels
    hook.remove()


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_every_path_sees_the_same_pixels(content, known, models, one, processor, seen_pixels, tmp_path):
    model = known["one"]
    side = processor.image_processor.size["height"]
    sample = parse_sample("a", sample_of(content), content)
    expected = build_image_processor(side)([sample.image], return_tensors="pt")["pixel_values"]
    path = tmp_path / "picture"
    path.write_bytes(content)

    with Image.open(path) as opened:
        answers = model.answer([path, content, opened, io.BytesIO(content)], [QUESTION] * 4)
    assert len(set(answers)) == 1
    assert torch.equal(seen_pixels.pop(), expected.expand(4, -1, -1, -1))

    (response,) = talk(models, lambda client, _: post_all(client, [question(one, data_url(content), QUESTION)]))
    assert said(response) == answers[0]
    assert torch.equal(seen_pixels.pop(), expected)

    pipe = pipeline("image-text-to-text", model=model.model, processor=model.processor, device="cpu")
    for image in (str(path), data_url(content), Image.open(path)):
        message = {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]}
        pipe(text=[message], return_full_text=False)
        assert torch.equal(seen_pixels.pop(), expected)


def test_the_picture_that_the_page_shows_is_the_one_that_was_asked(models, one, tmp_path):
    from tinygptv.web.page import build

    path = tmp_path / "a.jpg"
    path.write_bytes(FILES["orientation 6"])

    async def ask(_, engine):
        (asking,) = [part.fn for part in build(engine).fns.values() if part.api_name == "ask"]
        return await asking(str(path), "[refer] circle", one)

    _, drawn, _ = talk(models, ask)
    assert drawn.width > drawn.height, "it lies on its side"

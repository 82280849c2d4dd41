"""One image, one meaning: every form that telephones, browsers and programs make, against what a person sees."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tinygptv.data.images import MAX_SIDE, ImageError, read_image, size_as_seen

ORIENTATIONS = range(1, 9)
QUADRANTS = {(0, 0): (255, 0, 0), (1, 0): (0, 255, 0), (0, 1): (0, 0, 255), (1, 1): (255, 255, 0)}
SIDE = 16
BACK = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""Which orientation undoes which."""


def upright():
    """Four coloured quarters, wider than high: every turn and flip can be told apart."""
    picture = Image.new("RGB", (3 * SIDE, 2 * SIDE), (255, 255, 0))
    for (column, row), colour in QUADRANTS.items():
        width = (2 if column == 0 else 1) * SIDE
        picture.paste(colour, (column * 2 * SIDE, row * SIDE, column * 2 * SIDE + width, (row + 1) * SIDE))
    return picture


def exif(orientation):
    content = Image.Exif()
    content[0x0112] = orientation
    return content.tobytes()


def lying(orientation):
    """The rows as a camera stores them, so that the tag makes the picture upright."""
    tagged = upright()
    if orientation == 1:
        return tagged
    tagged.info["exif"] = exif(BACK[orientation])
    return ImageOps.exif_transpose(tagged)


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, format=form, **{"lossless": True, "quality": 100, **options} if form == "WEBP" else options)
    return file.getvalue()


def near(image, expected, tolerance=0):
    assert image.mode == "RGB"
    assert image.size == expected.size
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(expected).astype(int))
    assert difference.mean() <= tolerance, difference.mean()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("form", "tolerance"), [("PNG", 0), ("JPEG", 3), ("WEBP", 1)])
def test_every_orientation_is_upright(orientation, form, tolerance):
    content = encoded(
        lying(orientation),
        form,
        exif=exif(orientation),
        **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}),
    )
    seen = read_image(content)
    near(seen, upright(), tolerance)
    assert not seen.info
    assert seen.getexif().get(0x0112) is None, "a second reader would turn it again"
    with Image.open(io.BytesIO(content)) as opened:
        near(read_image(opened), seen)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_size_is_known_without_the_pixels(orientation):
    content = encoded(Image.new("RGB", (9, 7)), "JPEG", exif=exif(orientation))
    assert size_as_seen(content) == read_image(content).size


@pytest.mark.parametrize("block", [b"Exif\x00\x00garbage", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"\x00" * 40])
def test_a_damaged_exif_block_says_nothing(block):
    near(read_image(encoded(upright(), "JPEG", quality=95, subsampling=0, exif=block)), upright(), 3)


def test_an_orientation_that_is_none():
    for odd in (0, 9, 255):
        near(read_image(encoded(upright(), "PNG", exif=exif(odd))), upright())


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_lies_under_alpha_is_not_seen(form, mode):
    hidden = Image.new("RGBA", (8, 6), (0, 128, 0, 0))
    hidden.putpixel((3, 2), (200, 0, 0, 255))
    hidden = hidden.convert(mode)
    seen = read_image(encoded(hidden, form, exact=True) if form == "WEBP" else encoded(hidden, form))
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    shown = Image.merge("RGB", hidden.convert("RGBA").split()[:3]).getpixel((3, 2))
    assert seen.getpixel((3, 2)) == shown


def test_half_transparent_is_mixed_with_white():
    assert read_image(Image.new("RGBA", (4, 4), (0, 0, 0, 51))).getpixel((0, 0)) == (204, 204, 204)


def test_palettes_with_one_clear_colour_and_with_alpha():
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 9, 99, 199])
    assert read_image(encoded(picture, "PNG")).getpixel((0, 0)) == (9, 99, 199)
    assert read_image(encoded(picture, "PNG", transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert read_image(encoded(picture, "PNG", transparency=bytes([255, 0]))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "colour", "clear"), [("RGB", (1, 2, 3), (1, 2, 3)), ("L", 7, 7), ("1", 0, 0), ("I;16", 700, 700)]
)
def test_one_clear_colour_without_a_palette(mode, colour, clear):
    picture = Image.new(mode, (4, 4), colour)
    assert read_image(encoded(picture, "PNG", transparency=clear)).getpixel((0, 0)) == (255, 255, 255)
    assert read_image(encoded(picture, "PNG")).getpixel((0, 0)) != (255, 255, 255)


def png_of_16_bits(colour_type, pixel):
    """A PNG of one colour with 16 bits a channel, which Pillow writes for grey alone."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\x00" + struct.pack(f">{len(pixel)}H", *pixel) * 5
    head = struct.pack(">IIBBBBB", 5, 4, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("colour_type", "pixel", "expected"),
    [
        (0, (0x80FF,), (128, 128, 128)),
        (2, (0x80FF, 0x01FF, 0xFF00), (128, 1, 255)),
        (4, (0x80FF, 0xFFFF), (128, 128, 128)),
        (4, (0x80FF, 0), (255, 255, 255)),
        (6, (0x80FF, 0x01FF, 0xFF00, 0xFFFF), (128, 1, 255)),
        (6, (0x80FF, 0x01FF, 0xFF00, 0), (255, 255, 255)),
    ],
)
def test_16_bits_are_their_high_byte(colour_type, pixel, expected):
    assert read_image(png_of_16_bits(colour_type, pixel)).getpixel((2, 2)) == expected


def test_cmyk_and_grey_jpeg():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    near(read_image(encoded(red.convert("CMYK"), "JPEG")), red, 3)
    near(read_image(encoded(Image.new("L", (8, 8), 77), "JPEG")), Image.new("RGB", (8, 8), (77, 77, 77)), 1)


def swapped_profile():
    """sRGB with red and green exchanged: whoever ignores it sees another colour."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = content.index(b"rXYZ"), content.index(b"gXYZ")
    content[red : red + 4], content[green : green + 4] = b"gXYZ", b"rXYZ"
    name = "sRGB".encode("utf-16-be")
    return bytes(content).replace(name, "Swap".encode("utf-16-be"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_colour_profile_is_followed(form):
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    seen = read_image(encoded(red, form, icc_profile=swapped_profile())).getpixel((4, 4))
    assert seen[1] > 240 > 20 > seen[0]
    assert read_image(encoded(red, form, icc_profile=b"no profile")).getpixel((4, 4))[0] > 240


def test_srgb_named_so_changes_no_bit():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    named = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    near(read_image(encoded(picture, "PNG", icc_profile=named)), picture)


def test_a_profile_of_other_channels_is_passed_over():
    grey = Image.new("L", (8, 8), 77)
    assert read_image(encoded(grey, "PNG", icc_profile=swapped_profile())).getpixel((0, 0)) == (77, 77, 77)


def test_alpha_with_a_profile():
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    picture.putpixel((1, 1), (255, 0, 0, 255))
    seen = read_image(encoded(picture, "PNG", icc_profile=swapped_profile()))
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert seen.getpixel((1, 1))[1] > 240


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    near(read_image(content), frames[0], 1)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_opened_pictures_of_every_mode(mode):
    steps = {"La": ("LA",), "PA": ("RGBA", "P"), "RGBa": ("RGBA",), "LA": (), "RGBA": ()}.get(mode, ())
    picture = Image.new("RGB", (8, 6), (255, 255, 255))
    for step in (*steps, mode):
        picture = picture.convert(step)
    before = picture.tobytes()
    near(read_image(picture), Image.new("RGB", (8, 6), (255, 255, 255)))
    assert (picture.mode, picture.tobytes()) == (mode, before), "the caller's picture changed"


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_opened_pictures_of_16_bits_are_as_their_files(mode):
    picture = Image.new(mode, (8, 6), 0x80FF)
    assert read_image(picture).getpixel((0, 0)) == (128, 128, 128)
    if mode == "I;16":
        near(read_image(encoded(picture, "PNG")), read_image(picture))


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_modes_without_a_scale_are_refused_by_name(mode):
    with pytest.raises(ImageError, match=f"mode {mode} have no fixed scale"):
        read_image(Image.new(mode, (8, 6)))


def test_arrays():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    near(read_image(pixels[..., :3].copy()), Image.fromarray(pixels[..., :3].copy()))
    near(read_image(pixels[..., 0].copy()), Image.fromarray(pixels[..., 0].copy()).convert("RGB"))
    near(read_image(pixels), read_image(Image.fromarray(pixels)))
    assert read_image(np.full((6, 8), 0x80FF, np.uint16)).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(
    "odd", [np.zeros((6, 8, 3)), np.zeros((3, 6, 8), np.uint8), np.zeros((6, 8), np.int64), np.zeros(5, np.uint8)]
)
def test_arrays_that_could_mean_anything_are_refused(odd):
    with pytest.raises(ImageError, match="is no picture; give uint8"):
        read_image(odd)


@pytest.mark.parametrize("odd", [None, 3, ["a.png"], io.StringIO("text"), {"image": 1}])
def test_what_is_no_picture_is_one_line(odd):
    with pytest.raises(ImageError, match=f"a {type(odd).__name__} is no picture"):
        read_image(odd)


def test_files_paths_streams_and_bytes_are_one(tmp_path):
    content = encoded(lying(6), "PNG", exif=exif(6))
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with path.open("rb") as stream:
        sources = [content, bytearray(content), memoryview(content), path, str(path), io.BytesIO(content), stream]
        for source in sources:
            near(read_image(source), upright())


@pytest.mark.parametrize("path", ["no/such.png", ".", "a\x00b.png", "x" * 5000])
def test_paths_that_lead_nowhere(path):
    with pytest.raises(ImageError, match="give the path of a PNG"):
        read_image(path)


@pytest.mark.parametrize("size", [(3, 40), (40, 3), (MAX_SIDE + 1, 4), (8000, 5001)])
def test_sizes_are_the_same_for_files_and_opened_pictures(size):
    picture = Image.new("1", size)
    for source in (picture, encoded(picture, "PNG")):
        with pytest.raises(ImageError, match=f"{size[0]}x{size[1]} pixels"):
            read_image(source)


def test_a_telephone_s_picture_is_read():
    assert read_image(encoded(Image.new("L", (5664, 4248)), "JPEG")).size == (5664, 4248)


def test_damaged_at_any_place_is_read_or_refused_in_one_line():
    rng = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "WEBP"):
        content = encoded(upright(), form, exif=exif(6), icc_profile=swapped_profile())
        for place in rng.integers(0, len(content), 150):
            damaged = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
            for tried in (damaged, content[:place]):
                try:
                    assert read_image(tried).mode == "RGB"
                except ImageError as error:
                    assert "\n" not in str(error)


def test_a_reason_that_pillow_leaves_empty_is_at_least_named(monkeypatch):
    def end(*_: object) -> None:
        raise EOFError

    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, format="PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.verify", end)
    with pytest.raises(ImageError, match=r"cannot be decoded \(EOFError\)"):
        read_image(picture.getvalue(), "x")

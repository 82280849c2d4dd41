"""Data made to hurt: refused or made plain within two seconds and 512 MB, and the same way each time."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MOST_MB, MOST_SECONDS = 512, 2.0

LOOK = """
import json, pathlib, sys, time
from tinygptv.ground.errors import DataError
from tinygptv.data import images, tar_index
results = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if path.name == "canary":
        continue
    started = time.process_time()
    try:
        if path.suffix == ".tar":
            results[path.name] = f"taken: {len(tar_index.tar_index(path))} members"
        else:
            image = images.read_image(path.read_bytes(), path.stem)
            results[path.name] = f"taken: {image.mode} {image.size}"
    except DataError as error:
        results[path.name] = f"refused: {error}"
    results[path.name] = [results[path.name], time.process_time() - started]
status = pathlib.Path("/proc/self/status").read_text()  # getrusage would count the parent's memory before the exec
print(json.dumps([results, int(status.split("VmHWM:")[1].split()[0]) / 1024]))
"""


def look(folder: Path) -> tuple[dict[str, tuple[str, float]], float]:
    """What a process of its own makes of each file: the decision, its seconds of work, and the most memory of all."""
    done = subprocess.run([sys.executable, "-c", LOOK, str(folder)], capture_output=True, text=True, check=True)
    results, megabytes = json.loads(done.stdout)
    return results, megabytes


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A small file that says it is a large picture."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(bytes(64)))


def frames(kind: str) -> bytes:
    pictures = [Image.new("RGB", (9, 7), colour) for colour in ("red", "green", "blue")]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (9, 7)), "JPEG", exif=exif)


def with_transparency() -> bytes:
    image = Image.new("P", (9, 7))
    image.putpalette([10, 20, 30] * 256)
    return encoded(image, "PNG", transparency=0)


TAKEN, REFUSED = "taken: RGB (9, 7)", "refused: "
IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "large": (lambda: png(7_000, 7_000), "7000x7000 pixels, more than 40000000"),
    "square": (lambda: png(50_000, 50_000), "2500000000 pixels"),
    "flat": (lambda: png(2**31 - 1, 1), "2147483647 pixels"),
    "text": (lambda: png(9, 7, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000)))), REFUSED),
    "texts": (lambda: png(9, 7, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 100), REFUSED),
    "gif": (lambda: frames("GIF"), "unknown format"),
    "apng": (lambda: frames("PNG"), TAKEN),
    "webp": (lambda: frames("WEBP"), TAKEN),
    "cmyk": (lambda: encoded(Image.new("CMYK", (9, 7)), "JPEG"), TAKEN),
    "deep": (lambda: encoded(Image.new("I;16", (9, 7)), "PNG"), TAKEN),
    "palette": (with_transparency, TAKEN),
    "rotated": (rotated, "taken: RGB (7, 9)"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 7\n%%EndComments\n", "unknown format"),
    "psd": (lambda: b"8BPS" + bytes(6) + struct.pack(">HIIHH", 3, 7, 9, 8, 3) + bytes(40), "unknown format"),
    "fits": (lambda: b"SIMPLE  =                    T".ljust(2880), "unknown format"),
    "cut": (lambda: encoded(Image.effect_noise((900, 700), 80).convert("RGB"), "JPEG")[:-2000], REFUSED),
}


@pytest.mark.drill(16, "bombs and odd forms named .jpg: 2 s, 512 MB, the same decision twice", trials=2 * len(IMAGES))
def test_images(tmp_path: Path) -> None:
    for name, (make, _) in IMAGES.items():
        (tmp_path / f"{name}.jpg").write_bytes(make())
    (results, megabytes), (again, _) = look(tmp_path), look(tmp_path)
    for name, (_, words) in IMAGES.items():
        decision, seconds = results[f"{name}.jpg"]
        assert words in decision, (name, decision)
        assert seconds < MOST_SECONDS, name
        assert again[f"{name}.jpg"][0] == decision
    assert megabytes < MOST_MB


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> None:
    with tarfile.open(path, "w", format=form) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def pax_bomb(path: Path) -> None:
    """A header of 300 MB before the first member."""
    info = tarfile.TarInfo("a-1.json")
    info.pax_headers = {"comment": "x" * 300_000_000}
    tar(path, (info, b"{}"), form=tarfile.PAX_FORMAT)


def a_million_members(path: Path) -> None:
    header = bytearray(tarfile.TarInfo("k0000000.json").tobuf(tarfile.USTAR_FORMAT))
    with path.open("wb", buffering=1 << 22) as file:
        for number in range(1_000_000):
            header[:13] = f"k{number:07d}.json".encode()[:13]
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            file.write(header)
        file.write(bytes(1024))


def huge_member(path: Path) -> None:
    """Says, and has, 10 GB; the file is mostly a hole."""
    info = tarfile.TarInfo("a-1.json")
    info.size = 10_000_000_000
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + info.size + 1024)


def gzip_bomb(path: Path) -> None:
    maker = zlib.compressobj(9, wbits=31)
    path.write_bytes(b"".join(maker.compress(bytes(1 << 20)) for _ in range(1000)) + maker.flush())


def climbing(path: Path) -> None:
    tar(path, (tarfile.TarInfo("../canary"), b"changed"))


def absolute(path: Path) -> None:
    tar(path, (tarfile.TarInfo(str(path.parent / "canary")), b"changed"))


def linked(path: Path) -> None:
    link = tarfile.TarInfo("a-1.json")
    link.type, link.linkname = tarfile.SYMTYPE, str(path.parent / "canary")
    tar(path, (link, b""), (tarfile.TarInfo("a-1.json"), b"changed"))


TARS: dict[str, tuple[Callable[[Path], None], str]] = {
    "pax": (pax_bomb, "plain (ustar) tar"),
    "huge": (huge_member, "bytes; the limit is"),
    "gzip": (gzip_bomb, "damaged or cut off"),
    "climbing": (climbing, "'../canary' is not named"),
    "absolute": (absolute, "canary' is not named"),
    "linked": (linked, "is not a plain file"),
}


def check_tars(folder: Path, tars: dict[str, tuple[Callable[[Path], None], str]]) -> None:
    (folder / "canary").write_text("alive")
    for name, (make, _) in tars.items():
        make(folder / f"{name}.tar")
    results, megabytes = look(folder)
    for name, (_, words) in tars.items():
        assert results[f"{name}.tar"][0].startswith(REFUSED)
        assert words in results[f"{name}.tar"][0], (name, results[f"{name}.tar"])
    assert megabytes < MOST_MB
    assert (folder / "canary").read_text() == "alive"
    assert {path.name for path in folder.iterdir()} == {"canary", *(f"{name}.tar" for name in tars)}


@pytest.mark.drill(15, "tars that climb, link, swell: member named, canary untouched, 512 MB", trials=len(TARS))
def test_tars(tmp_path: Path) -> None:
    check_tars(tmp_path, TARS)


@pytest.mark.drills
@pytest.mark.drill(15, "a tar of a million members: refused at the limit, 512 MB")
def test_a_tar_of_a_million_members(tmp_path: Path) -> None:
    check_tars(tmp_path, {"million": (a_million_members, "member k0200000.json is one too many")})

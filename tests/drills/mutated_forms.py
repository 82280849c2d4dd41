"""Files of a form, each damaged in another way, and what reading them comes to: records, rejections, or one line.

A process of its own, so that a library that dies of a file is seen:
``python -m tests.drills.mutated_forms FORM TRIALS``.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.formats.embedded import picture, write_parquet, write_tar
from tests.data.formats.official import read_set
from tinygptv.data.recognise import recognise
from tinygptv.data.rows import collect
from tinygptv.ground.errors import DataError

MEMORY = 6 << 30
"""Bytes of addresses: a size that a damaged file says must not be believed."""
TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a cat {<1><2><3><4>}"}]
Hurt = Callable[[Any], Any]
"""Changes values before they are written; the other trials change the bytes of what was written."""


def parquet(root: Path, hurt: Hurt) -> list[Path]:
    rows = [
        {"id": n, "image": {"bytes": picture(n), "path": "1.png"}, "question": "What?", "answer": f"cat {n}"}
        for n in range(9)
    ]
    rows.append({"id": 9, "image": {"bytes": None, "path": "1.png"}, "question": None, "answer": "a cat"})
    return [write_parquet(root / "set" / "train.parquet", hurt(rows))]


def cauldron(root: Path, hurt: Hurt) -> list[Path]:
    texts = [{"user": "<image>What?", "assistant": "a cat", "source": "x"}] * 3
    rows = [{"images": [{"bytes": picture(n), "path": None}] if n else None, "texts": texts} for n in range(9)]
    return [write_parquet(root / "set" / "train.parquet", hurt(rows))]


def webdataset(root: Path, hurt: Hurt) -> list[Path]:
    members: dict[str, bytes | str | None] = {}
    for n in range(5):
        said = {"caption": f"cat {n}"} if n % 2 else {"conversations": TALK}
        members |= {f"a/{n}.v.{('jpg', 'png')[n % 2]}": picture(n), f"a/{n}.v.json": json.dumps(hurt(said))}
    members |= {"b.txt": "x" * 600, "b.webp": picture(9, "WEBP")}
    return [write_tar(root / "set" / "train-0.tar", members)]


def img2dataset(root: Path, hurt: Hurt) -> list[Path]:
    rows, members = [], {}
    for n in range(5):
        about = {"url": "x", "caption": f"cat {n}", "key": f"{n}", "status": ("success", "failed")[n == 2]}
        about |= {"width": 8, "height": 8, "original_width": 9, "original_height": 4, "error_message": None}
        rows.append(about)
        if n != 2:
            members |= {f"{n}.jpg": picture(n, "JPEG"), f"{n}.txt": f"cat {n}", f"{n}.json": json.dumps(hurt(about))}
    tar = write_tar(root / "set" / "0.tar", members)
    return [tar, write_parquet(root / "set" / "0.parquet", hurt(rows))]


def coco_detection(root: Path, hurt: Hurt) -> list[Path]:
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 8} for n in range(3)],
        "annotations": [
            {"image_id": n % 3, "category_id": n % 2 + 7, "bbox": [n / 2, 0, 3.5, 4], "iscrowd": int(n == 4)}
            for n in range(6)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}],
    }
    (root / "set").mkdir(exist_ok=True)
    (root / "set" / "boxes.json").write_text(json.dumps(hurt(content), indent=1))
    return [root / "set" / "boxes.json"]


def coco_captions(root: Path, hurt: Hurt) -> list[Path]:
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(3)],
        "annotations": [{"image_id": n % 3, "caption": f"a cat {n}"} for n in range(6)],
    }
    (root / "set").mkdir(exist_ok=True)
    (root / "set" / "captions.json").write_text(json.dumps(hurt(content)))
    return [root / "set" / "captions.json"]


FORMS: dict[str, Callable[[Path, Hurt], list[Path]]] = {
    made.__name__: made for made in (parquet, cauldron, webdataset, img2dataset, coco_detection, coco_captions)
}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, gone, doubled or come in, or the end cut off."""
    new = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        place, length = draw.randrange(len(new) + 1), draw.choice((1, 1, 2, 4, 16, 200))
        part = new[place : place + length]
        change = draw.randrange(7)
        if change == 0:
            new[place : place + length] = bytes(draw.randrange(256) for _ in part)
        elif change == 1:
            new[place : place + length] = b""
        elif change == 2:
            new[place:place] = part
        elif change == 3:
            new[place:place] = draw.choice(WORDS)
        elif change == 4:
            new[place : place + length] = draw.choice(WORDS)
        elif change == 5 and part:
            new[place] ^= 1 << draw.randrange(8)
        elif draw.random() < 0.2:
            del new[place:]
    return bytes(new)


WORDS = (
    *(b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b'"', b"{", b"]", b",", b"null", b"-1", b"1e999", b"NaN", b"9" * 40),
    *(b"\\ud83d", b"true", b"[" * 2000, b"../", b"\xe2\x80\xae", b"\n", b"{}", b"[]", b'""', b"0", b"<image>"),
)


ODD = (
    None,
    "",
    " ",
    "\0\ud83d",
    "\u202e###<image>",
    -1,
    1 << 70,
    1.5,
    float("nan"),
    True,
    [],
    {},
    [[]],
    b"\xff",
    "9" * 400,
)


def with_odd(value: Any, draw: random.Random) -> Any:
    """A value with something odd in one place, or a key gone."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        rest = {name: one for name, one in value.items() if name != key}
        return rest if draw.random() < 0.2 else {**value, key: with_odd(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        return [*value[:place], with_odd(value[place], draw), *value[place + 1 :]]
    return draw.choice(ODD)


def make(form: str, root: Path, draw: random.Random) -> None:
    """A damaged set, or a whole one where what was drawn cannot be written."""
    odd = draw.random() < 0.5
    try:
        files = FORMS[form](root, (lambda value: with_odd(value, draw)) if odd else lambda value: value)
    except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError):
        files = FORMS[form](root, lambda value: value)
    if not odd:
        path = draw.choice(files)
        path.write_bytes(damaged(path.read_bytes(), draw))


def main(form: str, trials: int) -> None:
    """Print how often reading came to what."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "images").mkdir()
        for n in range(3):
            (root / "images" / f"{n}.png").write_bytes(picture(n))
        for seed in range(trials):
            make(form, root, random.Random(f"{form} {seed}"))
            try:
                outcomes[outcome(form, root)] += 1
            except BaseException:
                print(f"{form}, seed {seed}", file=sys.stderr)
                raise
    print(json.dumps(outcomes))


def outcome(form: str, root: Path) -> str:
    """What looking at a set and reading it comes to."""
    recognise(root / "set", root / "images")
    try:
        found, rejected = read_set(root, form, ("set",), checked=False)
    except DataError as error:
        assert "\n" not in str(error), str(error)
        return "one line"
    collect(root / "rows.sqlite", "asked", [*found, *rejected], {}, "")
    for one in rejected:
        assert one["id"].isprintable(), one
        assert "\n" not in one["reason"], one
    return "some left out" if rejected else "records alone" if found else "nothing"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

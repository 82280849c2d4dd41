"""Pictures of easy-VQA as people have theirs: the same ones in five forms that `tinygptv new` reads."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tinygptv.data.formats import easy_vqa

TURNS = 3
SIDE = 64
"""Pixels of a side of easy-VQA's pictures."""


def picture_questions(count: int) -> Iterator[tuple[Path, list[tuple[str, str]]]]:
    """Pictures on which tiny was not trained, and of each three questions with answers, "what" first."""
    folder = easy_vqa.folder() / "test"
    of_picture: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for question, answer, picture in json.loads((folder / "questions.json").read_text()):
        of_picture[picture].append((question, answer))
    drawn = random.Random(16)
    for picture, asked in sorted(of_picture.items())[:count]:
        what = [pair for pair in asked if pair[0].startswith("what")]
        others = [pair for pair in asked if pair not in what]
        chosen = (what + drawn.sample(others, min(TURNS, len(others))))[:TURNS]
        yield folder / "images" / f"{picture}.png", chosen


def llava(folder: Path, count: int) -> list[str]:
    """LLaVA's JSON, three turns each, beside a folder of pictures; what `new` is told of it."""
    records: list[dict[str, Any]] = []
    for path, asked in _pictures(folder / "my pictures", count):
        turns: list[dict[str, str]] = []
        for question, answer in asked:
            turns += [
                {"from": "human", "value": question if turns else f"<image>\n{question}"},
                {"from": "gpt", "value": answer},
            ]
        records.append({"id": path.stem, "image": path.name, "conversations": turns})
    (folder / "shapes.json").write_text(json.dumps(records, indent=1))
    return ["--data", str(folder / "shapes.json"), "--images", str(folder / "my pictures")]


def messages(folder: Path, count: int) -> list[str]:
    """`messages` and `images`, one record on each line."""
    with (folder / "shapes.jsonl").open("w") as lines:
        for path, asked in _pictures(folder / "pictures", count):
            said = []
            for question, answer in asked:
                said += [
                    {"role": "user", "content": question if said else f"<image>{question}"},
                    {"role": "assistant", "content": answer},
                ]
            lines.write(json.dumps({"messages": said, "images": [f"pictures/{path.name}"]}) + "\n")
    return ["--data", str(folder / "shapes.jsonl")]


def captions(folder: Path, count: int) -> list[str]:
    """A CSV of captions, made of what "what" questions say of colour and shape."""
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption"])
        for path, colour, shape in described(folder / "pictures", count):
            table.writerow([f"pictures/{path.name}", f"a {colour} {shape}"])
    return ["--data", str(folder / "captions.csv")]


def detection(folder: Path, count: int) -> list[str]:
    """A COCO detection file: one box a picture, its category the shape."""
    from PIL import Image

    images, annotations = [], []
    names = {"circle": 3, "rectangle": 7, "triangle": 12}  # not contiguous, as COCO's
    for number, (path, _, shape) in enumerate(described(folder / "pictures", count), start=1):
        with Image.open(path) as image:
            edges = easy_vqa.pixel_box(image)
        assert edges is not None
        left, top, right, bottom = (edge * SIDE / 100 for edge in edges)
        images.append({"id": number, "file_name": path.name, "width": SIDE, "height": SIDE})
        annotations.append(
            {"id": number, "image_id": number, "category_id": names[shape], "iscrowd": 0,
             "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
        )  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in names.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return ["--data", str(folder / "instances.json"), "--images", str(folder / "pictures")]


def parquet(folder: Path, count: int) -> list[str]:
    """A folder of parquet files with embedded pictures, a question and its answer in a row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"image": {"bytes": path.read_bytes(), "path": path.name}, "question": question, "answer": answer}
        for path, asked in picture_questions(count)
        for question, answer in asked
    ]
    (folder / "table").mkdir()
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        pq.write_table(pa.Table.from_pylist(part), folder / "table" / f"train-{number:05}-of-00002.parquet")
    return ["--data", str(folder / "table")]


FORMS: dict[str, Callable[[Path, int], list[str]]] = {
    "llava": llava,
    "pairs": captions,
    "coco_detection": detection,
    "parquet": parquet,
    "messages": messages,
}


def described(folder: Path, count: int) -> Iterator[tuple[Path, str, str]]:
    """Pictures whose questions tell colour and shape, copied to a folder, with both."""
    folder.mkdir()
    for path, colour, shape in islice(_told(), count):
        yield Path(shutil.copy(path, folder)), colour, shape


def _told() -> Iterator[tuple[Path, str, str]]:
    shapes = ("circle", "rectangle", "triangle")
    for path, asked in picture_questions(4000):
        answers = [answer for question, answer in asked if question.startswith("what")]
        shape = next((answer for answer in answers if answer in shapes), None)
        colour = next((answer for answer in answers if answer not in shapes), None)
        if shape and colour:
            yield path, colour, shape


def _pictures(folder: Path, count: int) -> Iterator[tuple[Path, list[tuple[str, str]]]]:
    folder.mkdir()
    for path, asked in picture_questions(count):
        yield Path(shutil.copy(path, folder)), asked

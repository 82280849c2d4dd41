"""A small good data set of every form: what writes it, and the keys of a profile that read it.

A form has its row in one of the three tables. ``OFFICIAL`` are those whose files ``scripts/paper_files.py`` makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from scripts import paper_files
from tests.data.formats.embedded import picture, write_parquet, write_tar
from tests.data.formats.official import draw, write_json, write_lines
from tests.data_sets import sample, write_set

Settings = dict[str, Any]
Hurt = Callable[[Any], Any]
"""Changes values before they are written into a file whose bytes only a library can write."""
NUMBERS = range(4)
PICTURES = "pictures"
TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a cat {<1><2><3><4>}"}]


def talk(number: int, who: str, text: str, roles: tuple[str, str]) -> list[dict[str, str]]:
    return [{who: roles[0], text: f"<image>\nWhat is {number}?"}, {who: roles[1], text: f"A cat, {number}."}]


def llava(root: Path) -> Settings:
    turns = [talk(number, "from", "value", ("human", "gpt")) for number in NUMBERS]
    write_json(root / "own.json", [{"id": n, "image": f"{n}.png", "conversations": turns[n]} for n in NUMBERS])
    return {"files": ("own.json",), "images": PICTURES}


def messages(root: Path) -> Settings:
    said = [talk(number, "role", "content", ("user", "assistant")) for number in NUMBERS]
    objects = {"ref": ["a cat"], "bbox": [[0, 1, 4, 8]], "bbox_type": "real"}
    parts = [
        {"role": "user", "content": [{"type": "image", "index": 0}, {"type": "text", "text": "What?"}]},
        said[0][1],
    ]
    alpaca = {"instruction": "What?", "input": "<image>", "output": "A cat.", "history": [["Hi", "Ho"]]}
    entries = [
        {"messages": said[0], "images": ["0.png"], "system": "Be brief."},
        {"messages": parts, "images": ["1.png"]},
        {"query": "<image>Find <ref-object>", "response": "<bbox>", "images": "2.png", "objects": objects},
        {**alpaca, "images": ["3.png"]},
    ]
    write_lines(root / "set" / "own.jsonl", entries)
    write_json(root / "set" / "dataset_info.json", {"own": {"file_name": "own.jsonl", "columns": {"images": "images"}}})
    return {"files": ("set",), "images": PICTURES}


def pairs(root: Path) -> Settings:
    rows = "".join(
        f'{n},{n}.png,"what, ""{n}""?",a cat,{split}\n' for n, split in enumerate(("train", "", "val", "test"))
    )
    (root / "own.csv").write_text(f"id,image,question,answer,split\n{rows}")
    write_json(root / "own.json", [{"image": f"{n}.png", "captions": ["a cat", "a pet"]} for n in NUMBERS])
    return {"files": ("own.csv", "own.json"), "images": PICTURES}


def questions(root: Path) -> Settings:
    entries = [{"id": n, "image": f"{n}.png", "question": "What?", "answers": ["a", ["b", 2]]} for n in NUMBERS]
    write_lines(root / "own.jsonl", entries)
    return {"files": ("own.jsonl",), "images": PICTURES}


def imagefolder(root: Path) -> Settings:
    rows = [{"file_name": f"{number}.png", "text": f"a cat, {number}"} for number in NUMBERS]
    write_lines(root / PICTURES / "metadata.jsonl", rows)
    draw(root / PICTURES / "test" / "7.png", 7)
    (root / PICTURES / "test" / "metadata.csv").write_text("file_name,label\n7.png,cat\n")
    return {"images": PICTURES}


def records(root: Path) -> Settings:
    write_set(root / "made", "cats", [sample(number, "cats") for number in NUMBERS])
    (root / "own").mkdir()
    for tar in (root / "made" / "cats").glob("*.tar"):
        tar.rename(root / "own" / tar.name)
    return {"files": ("own",)}


def easy_vqa(root: Path) -> Settings:
    asked = [
        ("what shape is present?", "circle"),
        ("is there a red shape?", "yes"),
        ("what color is the circle?", "red"),
    ]
    for split in ("train", "test"):
        (root / "raw" / split / "images").mkdir(parents=True)
        image = Image.new("RGB", (8, 8))
        image.paste((255, 0, 0), (2, 2, 5, 6))
        image.save(root / "raw" / split / "images" / "0.png")
        write_json(root / "raw" / split / "questions.json", [[*said, 0] for said in asked])
    return {"images": "raw"}


def coco_detection(root: Path) -> Settings:
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 8} for n in range(3)],
        "annotations": [
            {"image_id": n % 3, "category_id": n % 2 + 7, "bbox": [n / 2, 0, 3.5, 4], "iscrowd": int(n == 4)}
            for n in range(6)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}],
    }
    write_json(root / "boxes.json", content)
    return {"files": ("boxes.json",), "images": PICTURES}


def parquet(root: Path, hurt: Hurt) -> Settings:
    rows = [
        {"id": n, "image": {"bytes": picture(n), "path": "1.png"}, "question": "What?", "answer": f"cat {n}"}
        for n in range(9)
    ]
    rows.append({"id": 9, "image": {"bytes": None, "path": "1.png"}, "question": "What?", "answer": "a cat"})
    write_parquet(root / "set" / "train.parquet", hurt(rows))
    return {"files": ("set",), "images": PICTURES}


def cauldron(root: Path, hurt: Hurt) -> Settings:
    texts = [{"user": "<image>What?", "assistant": "a cat", "source": "x"}] * 3
    rows = [{"images": [{"bytes": picture(n), "path": None}] if n else None, "texts": texts} for n in range(9)]
    write_parquet(root / "set" / "train.parquet", hurt(rows))
    return {"files": ("set",)}


def webdataset(root: Path, hurt: Hurt) -> Settings:
    members: dict[str, bytes | str | None] = {}
    for n in range(5):
        said = {"caption": f"cat {n}"} if n % 2 else {"conversations": TALK}
        members |= {f"a/{n}.v.{('jpg', 'png')[n % 2]}": picture(n), f"a/{n}.v.json": json.dumps(hurt(said))}
    members |= {"b.txt": "x" * 600, "b.webp": picture(9, "WEBP")}
    write_tar(root / "set" / "train-0.tar", members)
    return {"files": ("set",)}


def img2dataset(root: Path, hurt: Hurt) -> Settings:
    rows, members = [], {}
    for n in range(5):
        about = {"url": "x", "caption": f"cat {n}", "key": f"{n}", "status": ("success", "failed")[n == 2]}
        about |= {"width": 8, "height": 8, "original_width": 9, "original_height": 4, "error_message": None}
        rows.append(about)
        if n != 2:
            members |= {f"{n}.jpg": picture(n, "JPEG"), f"{n}.txt": f"cat {n}", f"{n}.json": json.dumps(hurt(about))}
    write_tar(root / "set" / "0.tar", members)
    write_parquet(root / "set" / "0.parquet", hurt(rows))
    return {"files": ("set",)}


def official(files: str, images: str = "", **settings: str) -> Settings:
    return {"files": tuple(files.split()), "images": images, **settings}


TEXTS: dict[str, Callable[[Path], Settings]] = {
    made.__name__: made for made in (llava, messages, pairs, questions, imagefolder, records, easy_vqa, coco_detection)
}
PACKED: dict[str, Callable[[Path, Hurt], Settings]] = {
    made.__name__: made for made in (parquet, cauldron, webdataset, img2dataset)
}
OFFICIAL: dict[str, Settings] = {
    "a_okvqa": official("a_okvqa/aokvqa_v1p0_val.json", "coco/val2017"),
    "cc_sbu_align": official("cc_sbu_align/filter_cap.json", "cc_sbu_align"),
    "coco_captions": official("captions", "coco/val2014"),
    "flickr30k": official(
        "flickr30k/captiontobbox.json flickr30k/groundedcaption.json flickr30k/phrasetobbox.json", "flickr30k/images"
    ),
    "gqa": official("gqa/testdev_balanced_questions.json", "gqa/images"),
    "hateful_memes": official("hateful_memes/dev_seen.jsonl", "hateful_memes"),
    "iconqa": official("iconqa/pid_splits.json iconqa/problems.json", "iconqa/iconqa", part="choose_txt_test"),
    "karpathy": official("karpathy", "coco", part="train"),
    "lavis": official("lavis/okvqa_train.json lavis/vqa_train.json", "coco/train2014"),
    "ocr_vqa": official("ocr_vqa", "ocr_vqa/images", part="train"),
    "pope": official("pope", "coco/val2014"),
    "refer": official("refcoco", "coco/train2014", part="testA"),
    "textcaps": official("textcaps", "textvqa"),
    "textvqa": official("textvqa/TextVQA_0.5.1_val.json", "textvqa/train_images"),
    "unnatural_instructions": official("unnatural_instructions"),
    "visual_genome": official("vg/image_data.json vg/region_descriptions.json", "vg"),
    "vizwiz": official("vizwiz/val.json", "vizwiz/val"),
    "vqa": official("vqa_v2", "coco/val2014"),
    "vsr": official("vsr/test.jsonl", "vsr/images"),
}
FORMS = (*TEXTS, *PACKED, *OFFICIAL)


def whole(value: Any) -> Any:
    """As it is."""
    return value


def write(form: str, root: Path) -> Settings:
    """Write the set of a form below a folder, which is empty, or has all the official files already.

    Returns:
        The keys of its section of a profile.
    """
    for number in NUMBERS:
        draw(root / PICTURES / f"{number}.png", number)
    if form in OFFICIAL:
        if not (root / "refcoco").exists():
            paper_files.write(root, dict.fromkeys(paper_files.SHARES, 2), 2)
        return OFFICIAL[form]
    return TEXTS[form](root) if form in TEXTS else PACKED[form](root, whole)

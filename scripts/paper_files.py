"""Small files of all that the paper trains on, in their true layouts, made from easy-VQA's training images.

    python -m scripts.paper_files data/raw/paper-mini        # what configs/paper-mini.yaml names

Below the folder everything lies as configs/paper.yaml has it below data/raw, the benchmarks included, which
`scripts/benchmark_files.py` makes from test images. Ids, names of files and fields are those of the official files; so
is what readers must bear: addresses that gave no picture, pictures of COCO's other split, regions that are too large.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from scripts import benchmark_files
from scripts.benchmark_files import Picture, pictures, save, save_json
from scripts.web_files import web
from tinygptv.data.boxes import format_box, hundredths
from tinygptv.data.formats import easy_vqa
from tinygptv.ground.arguments import Parser

FIRST = 33_471
"""Number of the first picture; no benchmark's picture has one as high."""
SIZE = 160
"""Pixels of a side, so that Visual Genome's regions can be of 16,384 pixels and more."""
ASKED = 60
"""Pictures of each benchmark."""
LONG = 20
"""Times that a question is asked where a conversation is too long for the tiny model: every fiftieth one."""
SHARES = {"coco": 500, "laion": 400, "cc_sbu": 100, "cc_sbu_align": 120, "flickr30k": 150, "textcaps": 100, "gqa": 150,
          "ocr_vqa": 80, "vg": 100}  # fmt: skip
"""Pictures of each kind; COCO's are shared by LLaVA's files, REFER's, the captions and the questions."""


def write(folder: Path, shares: dict[str, int] = SHARES, asked: int = ASKED) -> None:
    """Write every layout below a folder.

    Args:
        folder: where the files go.
        shares: kind → how many pictures.
        asked: pictures of each benchmark.
    """
    benchmark_files.write(folder, asked)
    every = pictures(sum(shares.values()), "train", FIRST, SIZE)
    of = {kind: list(islice(every, count)) for kind, count in shares.items()}
    benchmark_files.refer(folder, list(pictures(asked)), of["coco"])
    for layout in (llava, multitask_conversation, karpathy, lavis, a_okvqa):
        layout(folder, of["coco"])
    for name in ("laion", "cc_sbu"):
        web(folder / name, of[name])
    for kind, layout in ALONE.items():
        layout(folder, of[kind])
    unnatural_instructions(folder)


def box_of(picture: Picture) -> str:
    """The box of the shape, as an answer has it."""
    left, top, width, height = picture.xywh
    return format_box(hundredths((left, top, left + width, top + height), (picture.size, picture.size)))


def cc_sbu_align(folder: Path, shown: Sequence[Picture]) -> None:
    """MiniGPT-4's second stage: captions of several sentences, as they are."""
    annotations = []
    for picture in shown:
        save(folder / "cc_sbu_align" / "image" / f"{picture.number}.jpg", picture)
        text = f"The image shows a {picture.colour} {picture.shape}. There is no {picture.other_shape} in it."
        annotations.append({"image_id": str(picture.number), "caption": text})
    save_json(folder / "cc_sbu_align" / "filter_cap.json", {"annotations": annotations})


def coco_name(picture: Picture) -> str:
    """COCO's name of a training picture of 2014."""
    return f"COCO_train2014_{picture.number:012d}.jpg"


def llava(folder: Path, shown: Sequence[Picture]) -> None:
    """LLaVA's three files, in which COCO's pictures go by their number."""
    conversations, details, reasons = [], [], []
    for picture in shown:
        shown_there, other = f"{picture.colour} {picture.shape}", picture.other_shape
        asked = f"What color is the {picture.shape}?"
        first = f"{asked}\n<image>" if picture.number % 2 else f"<image>\n{asked}"
        more = ("What shape is present?", f"It is a {picture.shape}.") * (LONG if picture.number % 50 == 0 else 1)
        conversations.append(
            talk(picture, first, f"The {picture.shape} is {picture.colour}.", f"Is there a {other} in the image?",
                 f"No, there is no {other} in the image.", *more)
        )  # fmt: skip
        text = f"The image features a {shown_there}. It is alone in the picture: there is no {other}."
        details.append(talk(picture, "What do you see happening in this image?\n<image>", text))
        why = f"Would a {other} look the same as what is in the image?\n<image>"
        reasons.append(talk(picture, why, f"No. The image shows a {shown_there}, and a {other} has another outline."))
    for name, entries in (
        ("conversation_58k", conversations), ("detail_23k", details), ("complex_reasoning_77k", reasons)
    ):  # fmt: skip
        save_json(folder / "llava" / f"{name}.json", entries)


def talk(picture: Picture, *said: str) -> dict[str, Any]:
    """A conversation of LLaVA's form: what is said in turn, by a human first."""
    turns = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(said)]
    name = f"{picture.number:012d}"
    return {"id": name, "image": f"{name}.jpg", "conversations": turns}


def multitask_conversation(folder: Path, shown: Sequence[Picture]) -> None:
    """MiniGPT-v2's conversations, whose turns change the task."""
    entries = []
    for picture in shown:
        phrase, box = f"{picture.colour} {picture.shape}", box_of(picture)
        entries.append(
            talk(picture, f"<image>\n[vqa] what color is the {picture.shape}?", picture.colour, f"[refer] {phrase}",
                 box, f"[identify] {box}", phrase, f"[detection] {phrase}", f"<p>{phrase}</p> {box}")
        )  # fmt: skip
    save_json(folder / "multitask_conversation" / "multitask_conversation.json", entries)


def flickr30k(folder: Path, shown: Sequence[Picture]) -> None:
    """Flickr30k in three forms: captions with boxes, boxes of a caption's phrases, boxes of a phrase."""
    grounded, captions, phrases = [], [], []
    for picture in shown:
        name, box = str(1_000_000_000 + picture.number), box_of(picture)
        save(folder / "flickr30k" / "images" / f"{name}.jpg", picture)
        phrase = f"{picture.colour} {picture.shape}"
        grounded.append({"image_id": name, "grounded_caption": f"a <p>{phrase}</p> {box}"})
        text = f"A {phrase} is in the image"
        captions.append({"image_id": name, "caption": text, "output": f"<p>A {phrase}</p> {box}"})
        phrases.append({"image_id": name, "phrase": phrase, "bbox": box})
    for name, entries in (("groundedcaption", grounded), ("captiontobbox", captions), ("phrasetobbox", phrases)):
        save_json(folder / "flickr30k" / f"{name}.json", entries)


def unnatural_instructions(folder: Path) -> None:
    """Unnatural Instructions, filtered: no pictures; `constraints` may be null."""
    entries = []
    for colour in easy_vqa.COLOURS:
        for shape in easy_vqa.SHAPES:
            for task, output in (
                (f"Name the shape in these words: {colour} {shape}", shape),
                (f"Name the color in these words: {colour} {shape}", colour),
            ):
                constraints = ("None.", None, f"The output is one of: {', '.join(easy_vqa.SHAPES)}.")
                instance = {"instruction_with_input": f"{task}.", "input": f"{colour} {shape}",
                            "constraints": constraints[len(entries) % 3 if output == shape else 1],
                            "output": f"{output.capitalize()}."}  # fmt: skip
                entries.append({"instruction": "Name it.", "instances": [instance]})
    save_json(folder / "unnatural_instructions" / "filtered_unnatural_instruction.json", entries)


def textcaps(folder: Path, shown: Sequence[Picture]) -> None:
    """TextCaps' training captions over TextVQA's pictures."""
    data = []
    for picture in shown:
        name = f"{picture.number:016x}"
        save(folder / "textvqa" / "train_images" / f"{name}.jpg", picture)
        caption = f"A {picture.colour} {picture.shape}."
        data.append(
            {"caption_str": caption, "caption_id": len(data), "image_id": name, "image_classes": ["Shape"],
             "image_width": picture.size, "image_height": picture.size, "set_name": "train", "image_name": name,
             "image_path": f"train/{name}.jpg", "caption_tokens": caption.lower().strip(".").split(),
             "reference_strs": [caption], "reference_tokens": [caption.lower().strip(".").split()],
             "flickr_original_url": "", "flickr_300k_url": ""}
        )  # fmt: skip
    content = {"dataset_type": "train", "dataset_name": "textcaps", "dataset_version": "0.1", "data": data}
    save_json(folder / "textcaps" / "TextCaps_0.1_train.json", content)


def karpathy(folder: Path, shown: Sequence[Picture]) -> None:
    """COCO's captions in Karpathy's split, whose training part has pictures of val2014, too: here every tenth."""
    entries = []
    for picture in shown:
        phrase, name = f"{picture.colour} {picture.shape}", f"train2014/{coco_name(picture)}"
        if picture.number % 10 == 0:
            name = name.replace("train", "val")
        for text in (f"A {phrase}.", f"There is a {phrase}, all alone."):
            entries.append({"caption": text, "image": name, "image_id": f"coco_{picture.number}"})
    save_json(folder / "karpathy" / "coco_karpathy_train.json", entries)


def lavis(folder: Path, shown: Sequence[Picture]) -> None:
    """LAVIS's lists of questions: VQA v2 in two files, the second about pictures of val2014, and OK-VQA."""
    train, val, knowledge = [], [], []
    for picture in shown:
        for place, (question, answer, kind) in enumerate(picture.questions):
            said = [answer] * 8 + [{"yes": "yes it is", "no": "none"}.get(answer, f"dark {answer}")] * 2
            entry = {"question_id": picture.number * 1000 + place, "question": question.capitalize(), "answer": said,
                     "image": f"train2014/{coco_name(picture)}", "dataset": "vqa"}  # fmt: skip
            train.append(entry)
            if kind == "other":
                knowledge.append(entry | {"dataset": "ok_vqa"})
            if picture.number % 10 == 0:
                val.append(entry | {"image": entry["image"].replace("train", "val")})
    for name, entries in (("vqa_train", train), ("vqa_val", val), ("okvqa_train", knowledge)):
        save_json(folder / "lavis" / f"{name}.json", entries)


def gqa(folder: Path, shown: Sequence[Picture]) -> None:
    """LAVIS's list of GQA's balanced training questions."""
    entries = []
    for picture in shown:
        save(folder / "gqa" / "images" / f"{picture.number}.jpg", picture)
        for place, (question, answer, _) in enumerate(picture.questions):
            entries.append(
                {"image": f"{picture.number}.jpg", "question": question.capitalize(), "answer": answer,
                 "question_id": f"{picture.number}{place}", "fullAnswer": f"{answer.capitalize()}."}
            )  # fmt: skip
    save_json(folder / "lavis" / "train_balanced_questions.json", entries)


def a_okvqa(folder: Path, shown: Sequence[Picture]) -> None:
    """A-OKVQA's training file with LAVIS's key of the picture."""
    entries = []
    for picture in shown:
        place = easy_vqa.COLOURS.index(picture.colour)
        choices = [easy_vqa.COLOURS[(place + step) % len(easy_vqa.COLOURS)] for step in (0, 1, 2, 3)]
        right = picture.number % 4
        choices[0], choices[right] = choices[right], choices[0]
        entries.append(
            {"split": "train", "image_id": picture.number, "question_id": f"t{picture.number:021d}",
             "question": picture.questions[0][0].capitalize(), "choices": choices, "correct_choice_idx": right,
             "direct_answers": [picture.colour] * 9 + [f"dark {picture.colour}"], "difficult_direct_answer": False,
             "rationales": ["It is what one sees."] * 3, "image": f"train2014/{coco_name(picture)}"}
        )  # fmt: skip
    save_json(folder / "lavis" / "aokvqa_v1p0_train.json", entries)


def ocr_vqa(folder: Path, shown: Sequence[Picture]) -> None:
    """OCR-VQA's only file, whose split 1 is trained on; of every tenth book there is no cover."""
    books = {}
    for picture in shown:
        name = f"{picture.number:010d}"
        split = 1 if picture.number % 5 else 2 + picture.number % 2
        if picture.number % 10 != 1:
            save(folder / "ocr_vqa" / "images" / f"{name}.jpg", picture)
        asked = picture.questions
        books[name] = {
            "imageURL": f"http://ecx.images-amazon.com/images/I/{picture.number}.jpg", "split": split,
            "questions": [question.capitalize() for question, _, _ in asked],
            "answers": [answer.capitalize() for _, answer, _ in asked],
            "title": f"The {picture.colour.title()} {picture.shape.title()}", "authorName": "", "genre": "Geometry",
        }  # fmt: skip
    save_json(folder / "ocr_vqa" / "dataset.json", books)


def vg(folder: Path, shown: Sequence[Picture]) -> None:
    """Visual Genome: pictures in two folders; a region is the shape, two are of 16,384 pixels and more."""
    images, described = [], []
    for picture in shown:
        part = "VG_100K" if picture.number % 2 else "VG_100K_2"
        save(folder / "vg" / part / f"{picture.number}.jpg", picture)
        images.append(
            {"image_id": picture.number, "url": f"https://cs.stanford.edu/people/rak248/{part}/{picture.number}.jpg",
             "width": picture.size, "height": picture.size, "coco_id": None, "flickr_id": None}
        )  # fmt: skip
        left, top, width, height = (round(edge) for edge in picture.xywh)
        whole = ("The whole picture", 0, 0, picture.size, picture.size)
        regions = [(f"A {picture.colour} {picture.shape}.", left, top, width, height), whole,
                   ("Most of it", 16, 16, 128, 128)]  # fmt: skip
        described.append(
            {"id": picture.number, "regions": [
                {"region_id": picture.number * 10 + place, "image_id": picture.number, "phrase": phrase,
                 "x": x, "y": y, "width": wide, "height": high}
                for place, (phrase, x, y, wide, high) in enumerate(regions)
            ]}
        )  # fmt: skip
    save_json(folder / "vg" / "image_data.json", images)
    save_json(folder / "vg" / "region_descriptions.json", described)


ALONE = {"cc_sbu_align": cc_sbu_align, "flickr30k": flickr30k, "textcaps": textcaps, "gqa": gqa, "ocr_vqa": ocr_vqa,
         "vg": vg}  # fmt: skip
"""Kind of picture → what is made of it alone."""

if __name__ == "__main__":
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files go")
    write(parser.parse_args().folder)

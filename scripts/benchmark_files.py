"""Small files of the paper's benchmarks in their official layouts, made from easy-VQA's test images.

    python scripts/benchmark_files.py data/raw/mini        # what configs/eval-mini.yaml names

Every layout has real pictures and true answers, so that a model trained on easy-VQA can be measured by each benchmark.
Ids, names of files and fields are those of the official files; so are the oddities that readers must bear: REFER's
pickles, an answer that occurs ten times, statements in place of questions. What the paper trains on is made in the same
way by `scripts/paper_files.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tinygptv.data.boxes import Box
from tinygptv.data.formats import easy_vqa
from tinygptv.ground.arguments import Parser

IMAGES = 24
SIZE = 128
"""Pixels of a side, twice those of easy-VQA: what is measured in pixels must not be what is measured in hundredths."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and what it shows."""

    number: int
    jpeg: bytes
    shape: str
    colour: str
    xywh: tuple[float, float, float, float]
    """Box of the shape, in pixels."""
    size: int = SIZE
    """Pixels of a side."""

    @property
    def other_shape(self) -> str:
        """One that it does not show."""
        return easy_vqa.SHAPES[(easy_vqa.SHAPES.index(self.shape) + 1) % len(easy_vqa.SHAPES)]

    @property
    def questions(self) -> tuple[tuple[str, str, str], ...]:
        """Question, answer, kind of answer."""
        shown, other = self.shape, self.other_shape
        return (
            (f"what color is the {shown}?", self.colour, "other"),
            (f"is there a {shown}?", "yes", "yes/no"),
            (f"is there a {other}?", "no", "yes/no"),
        )


def pictures(count: int, split: str = "test", first: int = 1, size: int = SIZE) -> Iterator[Picture]:
    """Images of easy-VQA of which everything is known, larger and as JPEG; ``first`` is the number of the first."""
    folder = easy_vqa.folder() / split
    questions: dict[int, list[tuple[str, str]]] = {}
    for question, answer, number in json.loads((folder / "questions.json").read_text()):
        questions.setdefault(number, []).append((question, answer))
    made = 0
    for number in sorted(questions):
        facts = easy_vqa.derive_facts(questions[number], str(number))
        with Image.open(folder / "images" / f"{number}.png") as file:
            image = file.convert("RGB")
        box = easy_vqa.pixel_box(image)
        if facts.shape is None or facts.colour is None or box is None:
            continue
        buffer = io.BytesIO()
        image.resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95, subsampling=0)
        yield Picture(first + made, buffer.getvalue(), facts.shape, facts.colour, _pixels(box, size), size)
        if (made := made + 1) == count:
            return


def _pixels(box: Box, size: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (edge / 100 * size for edge in box)
    return x1, y1, x2 - x1, y2 - y1


def write(folder: Path, count: int = IMAGES) -> None:
    """Write every layout below a folder."""
    shown = list(pictures(count))
    for layout in (gqa, vsr, iconqa, vizwiz, hateful_memes, vqa, textvqa, a_okvqa, refer, pope, captions):
        layout(folder, shown)


def gqa(folder: Path, shown: list[Picture]) -> None:
    """GQA's balanced questions of testdev: an object of id → question."""
    questions = {}
    for picture in shown:
        save(folder / "gqa" / "images" / f"n{picture.number}.jpg", picture)
        for place, (question, answer, kind) in enumerate(picture.questions):
            types = {"structural": "verify" if kind == "yes/no" else "query", "semantic": "attr", "detailed": "exist"}
            questions[f"2{picture.number:06d}{place}"] = {
                "semantic": [], "entailed": [], "equivalent": [], "question": question, "imageId": f"n{picture.number}",
                "isBalanced": True, "groups": {"global": None, "local": "x"}, "answer": answer, "semanticStr": "",
                "annotations": {"answer": {}, "question": {}, "fullAnswer": {}}, "types": types,
                "fullAnswer": f"{answer}.",
            }  # fmt: skip
    save_json(folder / "gqa" / "testdev_balanced_questions.json", questions)


def vsr(folder: Path, shown: list[Picture]) -> None:
    """VSR's zero-shot test: a statement a line."""
    lines = []
    for picture in shown:
        name = f"{picture.number:012d}.jpg"
        save(folder / "vsr" / "images" / name, picture)
        for shape, label in ((picture.shape, 1), (picture.other_shape, 0)):
            lines.append(
                {"image": name, "image_link": f"http://images.cocodataset.org/train2017/{name}", "label": label,
                 "caption": f"The {shape} is in the picture.", "relation": "in", "vote_true_validator_id": [1],
                 "subj": shape, "obj": "picture", "annotator_id": 1, "vote_false_validator_id": []}
            )  # fmt: skip
    save_lines(folder / "vsr" / "test.jsonl", lines)


def iconqa(folder: Path, shown: list[Picture]) -> None:
    """IconQA's problems of all three sub-tasks and its splits."""
    problems: dict[str, Any] = {}
    splits: dict[str, list[str]] = {}
    for picture in shown:
        choices = list(easy_vqa.SHAPES[picture.number % 3 :] + easy_vqa.SHAPES[: picture.number % 3])
        of_kind = {
            "choose_txt": {"question": "What shape is in the image?", "choices": choices,
                           "answer": choices.index(picture.shape), "unit": ""},
            "choose_img": {"question": "Which one is the same?", "choices": ["choice_0.png", "choice_1.png"],
                           "answer": 0, "unit": ""},
            "fill_in_blank": {"question": f"How many {picture.shape}s are there?", "answer": "1", "unit": ""},
        }  # fmt: skip
        for place, (kind, problem) in enumerate(of_kind.items()):
            name = str(picture.number * 10 + place)
            problems[name] = {**problem, "ques_type": kind, "grade": "PreK", "label": "S", "skills": ["geometry"]}
            splits.setdefault(f"{kind}_test", []).append(name)
            at = folder / "iconqa" / "iconqa" / "test" / kind / name
            for file in ("image.png", "choice_0.png", "choice_1.png")[: 3 if kind == "choose_img" else 1]:
                save(at / file, picture)
    save_json(folder / "iconqa" / "problems.json", problems)
    every = {"test": [name for names in splits.values() for name in names]}
    save_json(folder / "iconqa" / "pid_splits.json", splits | every)


def vizwiz(folder: Path, shown: list[Picture]) -> None:
    """VizWiz's val: ten answers with their confidence; every sixth picture cannot be answered about."""
    entries = []
    for picture in shown:
        name = f"VizWiz_val_{picture.number:08d}.jpg"
        save(folder / "vizwiz" / "val" / name, picture)
        question, answer, _ = picture.questions[0]
        answerable = picture.number % 6 != 0
        said = [answer] * 7 + ["unanswerable"] * 3 if answerable else ["unanswerable"] * 8 + [answer] * 2
        entries.append(
            {"image": name, "question": question if answerable else "what does the label say?",
             "answers": [{"answer_confidence": "yes", "answer": text} for text in said],
             "answer_type": "other" if answerable else "unanswerable", "answerable": int(answerable)}
        )  # fmt: skip
    save_json(folder / "vizwiz" / "val.json", entries)


def hateful_memes(folder: Path, shown: list[Picture]) -> None:
    """Hateful Memes' dev_seen: a meme a line; what counts as hateful here is a triangle."""
    lines = []
    for picture in shown:
        name = f"img/{10_000 + picture.number}.png"
        save(folder / "hateful_memes" / name, picture)
        label = int(picture.shape == "triangle")
        lines.append({"id": 10_000 + picture.number, "img": name, "label": label, "text": f"a {picture.colour} day"})
    save_lines(folder / "hateful_memes" / "dev_seen.jsonl", lines)


def vqa(folder: Path, shown: list[Picture]) -> None:
    """OK-VQA and VQA v2: two files each, over the same COCO images; one annotator in ten disagrees."""
    for name, head in (("ok_vqa", ""), ("vqa_v2", "v2_")):
        questions, annotations = [], []
        for picture in shown:
            save_coco(folder, "val2014", f"COCO_val2014_{picture.number:012d}.jpg", picture)
            for place, (question, answer, kind) in enumerate(picture.questions[: 1 if name == "ok_vqa" else 3]):
                number = picture.number * 1000 + place
                questions.append({"image_id": picture.number, "question": question, "question_id": number})
                said = [answer] * 9 + ["shape"]
                answers = [
                    {"answer_id": i, "answer": text, "answer_confidence": "yes"}
                    | ({"raw_answer": text} if name == "ok_vqa" else {})
                    for i, text in enumerate(said, start=1)
                ]
                common = {"image_id": picture.number, "question_id": number, "answer_type": kind, "answers": answers}
                own = {"confidence": 3} if name == "ok_vqa" else {"multiple_choice_answer": answer}
                annotations.append({**common, **own, "question_type": question.partition(" the ")[0]})
        info = {"info": {"version": "2.0"}, "license": {}, "data_subtype": "val2014", "data_type": "mscoco"}
        task = {"task_type": "Open-Ended"}
        save_json(
            folder / name / f"{head}OpenEnded_mscoco_val2014_questions.json", {**info, **task, "questions": questions}
        )
        save_json(folder / name / f"{head}mscoco_val2014_annotations.json", {**info, "annotations": annotations})


def textvqa(folder: Path, shown: list[Picture]) -> None:
    """TextVQA's val: one file with questions and answers."""
    data = []
    for picture in shown:
        name = f"{picture.number:016x}"
        save(folder / "textvqa" / "train_images" / f"{name}.jpg", picture)
        question, answer, _ = picture.questions[0]
        data.append(
            {"question": question, "image_id": name, "image_classes": ["Shape"], "image_width": SIZE,
             "image_height": SIZE, "question_id": 34602 + picture.number, "answers": [answer] * 10,
             "question_tokens": question.strip("?").split(), "set_name": "val",
             "flickr_original_url": "", "flickr_300k_url": ""}
        )  # fmt: skip
    save_json(
        folder / "textvqa" / "TextVQA_0.5.1_val.json",
        {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1", "data": data},
    )


def a_okvqa(folder: Path, shown: list[Picture]) -> None:
    """A-OKVQA's val: choices and direct answers."""
    entries = []
    for picture in shown:
        save_coco(folder, "val2017", f"{picture.number:012d}.jpg", picture)
        others = [colour for colour in easy_vqa.COLOURS if colour != picture.colour][:3]
        choices = sorted([picture.colour, *others])
        right = choices.index(picture.colour)
        entries.append(
            {"split": "val", "image_id": picture.number, "question_id": f"q{picture.number:021d}",
             "question": picture.questions[0][0], "choices": choices, "correct_choice_idx": right,
             "direct_answers": [picture.colour] * 8 + ["dark", "a colour"], "difficult_direct_answer": False,
             "rationales": ["It is what one sees."] * 3}
        )  # fmt: skip
    save_json(folder / "a_okvqa" / "aokvqa_v1p0_val.json", entries)


def refer(folder: Path, shown: list[Picture], train: Sequence[Picture] = ()) -> None:
    """RefCOCO, RefCOCO+ and RefCOCOg as REFER has them: pickles of all splits, and COCO's instances."""
    parts = {"refcoco": ("unc", ("val", "testA", "testB")), "refcoco+": ("unc", ("val", "testA", "testB")),
             "refcocog": ("umd", ("val", "test"))}  # fmt: skip
    for name, (split_by, splits) in parts.items():
        refs, images, annotations, sentence = [], [], [], 0
        for place, picture in enumerate([*shown, *train]):
            file = f"COCO_train2014_{picture.number:012d}.jpg"
            save_coco(folder, "train2014", file, picture)
            images.append(
                {"id": picture.number, "file_name": file, "width": picture.size, "height": picture.size, "license": 1}
            )
            annotations.append(
                {"id": 500 + picture.number, "image_id": picture.number, "bbox": list(picture.xywh), "category_id": 1,
                 "area": picture.xywh[2] * picture.xywh[3], "iscrowd": 0, "segmentation": [[0.0, 0.0, 1.0, 1.0]]}
            )  # fmt: skip
            name_of_it = f"{picture.colour} {picture.shape}"
            said = [name_of_it, f"the {name_of_it}", f"{picture.shape} that is {picture.colour}"]
            trained = place >= len(shown)
            said = said[: 1 + picture.number % (3 if trained else 2)]
            sentences = []
            for text in said:
                sentences.append({"tokens": text.split(), "raw": text.title(), "sent_id": sentence, "sent": text})
                sentence += 1
            refs.append(
                {"sent_ids": [item["sent_id"] for item in sentences], "ref_id": picture.number, "sentences": sentences,
                 "file_name": file.replace(".jpg", f"_{picture.number}.jpg"), "ann_id": 500 + picture.number,
                 "image_id": picture.number, "category_id": 1,
                 "split": "train" if trained else splits[picture.number % len(splits)]}
            )  # fmt: skip
        at = folder / name
        categories = [{"id": 1, "name": "shape", "supercategory": "thing"}]
        coco = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
        save_json(at / "instances.json", coco)
        (at / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))


def pope(folder: Path, shown: list[Picture]) -> None:
    """POPE's adversarial questions over COCO's val2014."""
    lines: list[dict[str, Any]] = []
    for picture in shown:
        for shape, label in ((picture.shape, "yes"), (picture.other_shape, "no")):
            file = f"COCO_val2014_{picture.number:012d}.jpg"
            text = f"Is there a {shape} in the image?"
            lines.append({"question_id": len(lines) + 1, "image": file, "text": text, "label": label})
    save_lines(folder / "pope" / "coco_pope_adversarial.json", lines)


def captions(folder: Path, shown: list[Picture]) -> None:
    """COCO's captions of val2014, several an image."""
    images = [{"id": p.number, "file_name": f"COCO_val2014_{p.number:012d}.jpg", "width": SIZE, "height": SIZE,
               "license": 1} for p in shown]  # fmt: skip
    annotations = []
    for picture in shown:
        for text in (f"a {picture.colour} {picture.shape}", f"There is a {picture.colour} {picture.shape}, all alone."):
            annotations.append({"image_id": picture.number, "id": len(annotations) + 1, "caption": text})
    save_json(folder / "captions" / "captions_val2014.json",
          {"info": {}, "images": images, "licenses": [], "annotations": annotations})  # fmt: skip


def save_coco(folder: Path, part: str, name: str, picture: Picture) -> None:
    """A picture of one of COCO's folders."""
    save(folder / "coco" / part / name, picture)


def save(path: Path, picture: Picture) -> None:
    """The picture in the form that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        path.write_bytes(picture.jpeg)
    else:
        with Image.open(io.BytesIO(picture.jpeg)) as image:
            image.save(path)


def save_json(path: Path, content: Any) -> None:
    """A file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    """The same with an entry a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))


if __name__ == "__main__":
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files go")
    write(parser.parse_args().folder)

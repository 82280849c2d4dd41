"""The small files of what the paper trains on: keys and names are those of the official files."""

import json
import tarfile
from pathlib import PurePosixPath

import pytest

from scripts.paper_files import SHARES, write
from tinygptv.ground.files import sha256_tree

FEW = dict.fromkeys(SHARES, 11)
KEYS = {
    "llava/conversation_58k.json": {"id", "image", "conversations"},
    "llava/detail_23k.json": {"id", "image", "conversations"},
    "llava/complex_reasoning_77k.json": {"id", "image", "conversations"},
    "multitask_conversation/multitask_conversation.json": {"id", "image", "conversations"},
    "flickr30k/groundedcaption.json": {"image_id", "grounded_caption"},
    "flickr30k/captiontobbox.json": {"image_id", "caption", "output"},
    "flickr30k/phrasetobbox.json": {"image_id", "phrase", "bbox"},
    "unnatural_instructions/filtered_unnatural_instruction.json": {"instances"},
    "karpathy/coco_karpathy_train.json": {"image", "caption", "image_id"},
    "lavis/vqa_train.json": {"image", "question", "question_id", "answer"},
    "lavis/vqa_val.json": {"image", "question", "question_id", "answer"},
    "lavis/okvqa_train.json": {"image", "question", "question_id", "answer"},
    "lavis/aokvqa_v1p0_train.json": {"image", "question", "direct_answers", "choices", "correct_choice_idx"},
    "lavis/train_balanced_questions.json": {"image", "question", "answer"},
    "vg/image_data.json": {"image_id", "url", "width", "height"},
    "vg/region_descriptions.json": {"id", "regions"},
}
"""File that is a list → keys that each of its entries must have."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write(folder, FEW, 2)
    return folder


def read(made, name):
    return json.loads((made / name).read_text())


@pytest.mark.parametrize("name", KEYS)
def test_entries_have_the_official_keys(made, name):
    entries = read(made, name)
    assert entries and all(entry.keys() >= KEYS[name] for entry in entries)


def test_the_pictures_that_files_name_are_there_but_for_those_of_which_the_official_ones_lack_some(made):
    for name in ("conversation_58k", "detail_23k", "complex_reasoning_77k"):
        for entry in read(made, f"llava/{name}.json"):
            assert (made / "coco/train2014" / f"COCO_train2014_{entry['image']}").is_file()
            assert sum(turn["value"].count("<image>") for turn in entry["conversations"]) == 1
    for entry in read(made, "cc_sbu_align/filter_cap.json")["annotations"]:
        assert (made / "cc_sbu_align/image" / f"{entry['image_id']}.jpg").is_file()
    for entry in read(made, "flickr30k/groundedcaption.json"):
        assert (made / "flickr30k/images" / f"{entry['image_id']}.jpg").is_file()
    for entry in read(made, "textcaps/TextCaps_0.1_train.json")["data"]:
        assert (made / "textvqa/train_images" / f"{entry['image_id']}.jpg").is_file()
    for entry in read(made, "vg/image_data.json"):
        assert made.joinpath("vg", *PurePosixPath(entry["url"]).parts[-2:]).is_file()
    books = read(made, "ocr_vqa/dataset.json")
    assert {book["split"] for book in books.values()} == {1, 2, 3}
    assert 0 < sum(not (made / "ocr_vqa/images" / f"{name}.jpg").is_file() for name in books) < len(books)


def test_lists_of_coco_name_pictures_of_both_splits_of_which_only_those_of_train2014_are_there(made):
    for name in ("lavis/vqa_val.json", "karpathy/coco_karpathy_train.json"):
        images = {entry["image"] for entry in read(made, name)}
        assert any(image.startswith("val2014/COCO_val2014_") for image in images), name
        assert all((made / "coco" / image).is_file() == image.startswith("train2014/") for image in images), name


def test_regions_are_below_at_and_above_the_limit(made):
    areas = {r["width"] * r["height"] for entry in read(made, "vg/region_descriptions.json") for r in entry["regions"]}
    assert min(areas) < 16384 and 16384 in areas and max(areas) > 16384


def test_tars_are_those_of_img2dataset(made):
    with tarfile.open(made / "laion" / "00000.tar") as tar:
        names = tar.getnames()
        assert names[:3] == ["000000000.jpg", "000000000.json", "000000000.txt"]
        assert json.load(tar.extractfile("000000000.json"))["caption"]
    told = read(made, "laion/00000_stats.json")
    assert len(names) == 3 * told["successes"] and told["failed_to_download"] == 1


def test_a_second_run_gives_the_same_bytes(made, tmp_path):
    write(tmp_path, FEW, 2)
    assert sha256_tree(tmp_path) == sha256_tree(made)

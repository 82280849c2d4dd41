"""Conversations in the variants of LLaMA-Factory, OpenAI, TRL and ms-swift: each quirk is read, or told in words."""

from __future__ import annotations

import base64
import json

import pytest
from PIL import Image

from tests.data.formats.official import draw, read_set, write_json
from tinygptv.data.records import Record, Turn

WHAT = (Turn("What?", "A cat."),)


@pytest.fixture
def read_all(tmp_path):
    """``read_all(entries, **settings)``: what is found in a file of them; there are pictures 1.png to 3.png."""
    for number in (1, 2, 3):
        draw(tmp_path / "images" / f"{number}.png", number)

    def make(entries, name="cats.json", **settings):
        write_json(tmp_path / name, entries)
        return read_set(tmp_path, "messages", settings.pop("files", (name,)), **settings)

    return make


@pytest.fixture
def refuse(read_all):
    """The reason why an entry is left out."""

    def make(entry, **settings):
        found, (rejection,) = read_all([entry], **settings)
        assert found == []
        assert "\n" not in rejection["reason"]
        return rejection["reason"]

    return make


def talk(*texts, who="role", text="content", roles=("user", "assistant")):
    """A conversation of these texts, the first a question."""
    return [{who: roles[place % 2], text: said} for place, said in enumerate(texts)]


def parts(*given):
    """A conversation whose question is these parts."""
    return talk(list(given), "A cat.")


IMAGE, ASK = {"type": "image"}, {"type": "text", "text": "What?"}


@pytest.mark.parametrize(
    "entry",
    [
        {"messages": talk("<image>What?", "A cat."), "images": ["1.png"]},
        {"messages": talk("<image>\nWhat?", "A cat."), "images": "1.png"},
        {"messages": talk("What?", "A cat."), "images": ["1.png"]},
        {"messages": talk("What?", "A cat."), "image": "1.png", "images": []},
        {"messages": talk("What?", "A cat."), "images": [{"bytes": None, "path": "1.png"}]},
        {"messages": talk("What?", [{"type": "text", "text": "A cat."}]), "images": ["1.png"]},
        {
            "conversations": talk("<image>What?", "A cat.", who="from", text="value", roles=("human", "gpt")),
            "images": ["1.png"],
        },
        {"messages": parts(IMAGE, ASK), "images": ["1.png"]},
        {"messages": parts(ASK, IMAGE), "images": "1.png"},
        {"messages": parts({"type": "image", "index": 0, "text": None}, {**ASK, "index": None}), "images": ["1.png"]},
        {"messages": parts({"type": "image", "image": "1.png"}, ASK)},
        {"messages": parts({"image": "1.png"}, {"text": "What?"})},
        {"messages": parts({"type": "image_url", "image_url": {"url": "1.png", "detail": "low"}}, ASK)},
        {"messages": parts({"type": "input_image", "image_url": "1.png"}, {"type": "input_text", "text": "What?"})},
        {"messages": parts({"type": "image", "index": 0}, ASK, {"type": "image", "index": 0}), "images": ["1.png"]},
        {"messages": parts({"type": "image", "index": 1}, ASK), "images": ["2.png", "1.png"]},
        {"messages": parts("What", IMAGE, "?"), "images": ["1.png"]},
        {"prompt": parts(IMAGE, ASK)[:1], "completion": parts(IMAGE, ASK)[1:], "images": ["1.png"]},
        {"query": "<image>What?", "response": "A cat.", "images": ["1.png"], "history": []},
        {"conversation": [{"human": "<image>What?", "assistant": "A cat."}], "images": ["1.png"]},
        {"instruction": "<image>What?", "input": "", "output": "A cat.", "images": ["1.png"]},
        {"messages": talk("What?", "A cat."), "images": ["1.png"], "tools": "[]", "objects": {}, "videos": []},
    ],
)
def test_ways_to_write_one_record(read_all, entry):
    (found,), rejected = read_all([{"id": "a", **entry}])
    assert rejected == []
    assert found.record == Record("a", "conversation", WHAT)
    assert found.image.path.name == "1.png"


def test_a_picture_in_the_file_itself(read_all, tmp_path):
    content = (tmp_path / "images" / "1.png").read_bytes()
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    entry = {"messages": parts({"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "<bbox>?"})}
    (found,), rejected = read_all([{**entry, "objects": {"bbox": [[0, 0, 4, 8]]}}], images="")
    assert (found.image, rejected) == (content, [])
    assert found.record.turns[0].question == "{<0><0><50><100>}?"


def test_alpaca_and_history(read_all):
    entry = {
        "instruction": "Translate.",
        "input": "Katze",
        "output": "cat",
        "history": [["Hi", "Ho"]],
        "system": "Be brief.",
    }
    (found,), _ = read_all([entry])
    assert found.record.turns == (Turn("Be brief.\nHi", "Ho"), Turn("Translate.\nKatze", "cat"))
    assert found.image is None
    (found,), _ = read_all(
        [{"query": "And?", "response": "Yes.", "history": [["<image>What?", "A cat."]], "images": "1.png"}]
    )
    assert found.record.turns == (*WHAT, Turn("And?", "Yes."))


def test_a_system_text_is_the_first_message_or_a_column(read_all):
    said = talk("<image>What?", "A cat.")
    first = [{"role": "system", "content": "Be brief."}, *said]
    for entry in ({"messages": first, "system": "other"}, {"messages": said, "system": "Be brief."}):
        (found,), _ = read_all([{**entry, "images": ["1.png"]}])
        assert found.record.turns == (Turn("Be brief.\nWhat?", "A cat."),)


def test_text_alone(read_all):
    for images in ({}, {"images": []}, {"images": None}, {"images": ""}):
        (found,), rejected = read_all([{"messages": talk("Hi", "a <image> <bbox>"), **images}])
        assert (found.image, rejected) == (None, [])
        assert found.record.turns == (Turn("Hi", "a <image> <bbox>"),)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"messages": talk("<image><image>What?", "A"), "images": ["1.png"]},
            "has 2 marks <image> and 1 picture; write",
        ),
        (
            {"messages": talk("<image>What?", "A"), "images": ["1.png", "2.png"]},
            "has 1 mark <image> and 2 pictures; write one mark for each picture, or none",
        ),
        ({"messages": talk("<image>What?", "A")}, "has <image>, but the record names no picture in `images`"),
        (
            {"messages": [{"role": "system", "content": "<image>"}, *talk("What?", "A")]},
            "has <image>, but the record names no picture in `images`",
        ),
        ({"messages": talk("What?", "A"), "images": ["1.png", "2.png"]}, "has 2 pictures, and one is the most"),
        ({"messages": parts(IMAGE, IMAGE, ASK), "images": ["1.png"]}, "has 2 parts of type image and 1 picture"),
        ({"messages": parts(IMAGE, ASK)}, "has 1 part of type image and 0 pictures"),
        (
            {"messages": parts({"type": "image", "index": 1}, ASK), "images": ["1.png"]},
            "has a part with the index 1, from 0 on, and 1 picture",
        ),
        (
            {"messages": parts({"type": "image", "image": 3}, ASK)},
            "turn 1: the picture of a part must be the name of a file",
        ),
        ({"messages": parts({"type": "video", "video": "a.mp4"}, ASK)}, "turn 1 has a part of type 'video'; known are"),
        ({"messages": parts({"text": 3})}, "turn 1 has a part without a `type`"),
        ({"messages": parts({"type": "text", "text": 3})}, "the text of a part must be text, not a number"),
        ({"messages": parts(3)}, "a part must be text or an object with `type`, not a number"),
        ({"messages": talk("What?", [IMAGE]), "images": ["1.png"]}, "an answer has a picture"),
        ({"messages": talk("What?", "A"), "images": ["https://host/1.png"]}, "its picture is an address"),
        (
            {"messages": talk("What?", "A"), "images": ["data:image/png;base64,A"]},
            "is a data URL, and no valid base 64",
        ),
        ({"messages": talk("What?", "A"), "images": ["data:,a", "1.png"]}, "has 2 pictures"),
        ({"messages": talk("What?", "A"), "images": [7]}, "must be the name of a file, not a number"),
        ({"messages": talk("What?", "A"), "images": [{"bytes": "AA"}]}, "must be the name of a file, not an object"),
        ({"messages": talk("What?", "A"), "videos": ["a.mp4"]}, "has `videos`; only pictures can be trained on"),
        ({"messages": talk("What?", "A", "Hm?")}, "the last question has no answer"),
        ({"messages": talk("What?", "A")[::-1]}, "turn 1 is an answer and is the first"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "turn 1 is from 'tool'; known are human"),
        ({"messages": [{"content": "x"}]}, "turn 1 does not say"),
        ({"messages": "What?"}, "its messages must be a list of turns, not text"),
        ({"messages": ["What?"]}, "turn 1 must be an object with `role` and `content`, not text"),
        ({"messages": talk("What?", None)}, "turn 2: `content` must be text or a list of parts, not null"),
        ({"messages": []}, "the conversation has no question"),
        ({"query": "What?"}, "turn 2: the answer is empty"),
        ({"query": "What?", "response": "A", "history": ["Hi"]}, "`history` must be a list of [question, answer]"),
        ({"query": 3, "response": "A"}, "the question must be text, not a number"),
        (
            {"text": "What?"},
            "has no conversation: none of `messages`, `conversations`, `query`, `instruction`; it has text",
        ),
        ([], "a record is an object with `messages`, not a list"),
    ],
)
def test_what_is_left_out(refuse, entry, words):
    assert words in refuse(entry)


def test_the_first_of_several_pictures(read_all):
    for question in ("<image><image>Which?", "Which?"):
        (found,), _ = read_all(
            [{"messages": talk(question, "The left."), "images": ["2.png", "1.png"]}], several_images="first"
        )
        assert (found.image.path.name, found.record.turns[0].question) == ("2.png", "Which?")


def boxed(images="1.png", **objects):
    return {"messages": talk("<image>Find <ref-object>", "<bbox>"), "images": images, "objects": objects}


def test_objects_take_the_place_of_their_marks(read_all):
    for box, kind in (([2, 0, 4, 8], {}), ([0.25, 0, 0.5, 1], {"bbox_type": "norm1"})):
        (found,), rejected = read_all([boxed(ref=["the <image> cat"], bbox=[box], **kind)])
        assert rejected == []
        assert found.record.turns == (Turn("Find <p>the <image> cat</p>", "{<25><0><50><100>}"),)
        assert found.record.boxes == ((25, 0, 50, 100),)


def test_boxes_without_a_picture_in_a_damaged_one_and_in_one_on_its_side(read_all, refuse, tmp_path):
    whole = {"ref": ["a"], "bbox": [[0, 0, 1, 1]]}
    assert "has boxes, and no picture" in refuse(
        {**boxed(**whole), "images": [], "messages": talk("<ref-object>", "<bbox>")}
    )
    (tmp_path / "images" / "bad.png").write_bytes(b"no picture")
    assert "its picture cannot be read" in refuse(boxed("bad.png", **whole))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "images" / "turned.jpg", exif=exif)
    (found,), _ = read_all([boxed("turned.jpg", ref=["a"], bbox=[[0, 0, 10, 40]])])
    assert found.record.boxes == ((0, 0, 50, 100),)


def test_columns_of_the_profile_tasks_and_splits(read_all):
    entry = {"key": 7, "pic": "1.png", "q": "What?", "a": "A cat.", "part": "validation"}
    columns = {"image": "pic", "question": "q", "answer": "a", "id": "key", "split": "part"}
    (found,), rejected = read_all([entry], columns=columns, task="vqa")
    assert (found.record, found.split, rejected) == (Record("7", "vqa", WHAT), "val", [])
    found, _ = read_all([{"messages": talk("<image>What?", "A cat.", "Sure?", "Yes."), "images": "1.png"}], task="vqa")
    assert [item.record.turns[0].answer for item in found] == ["A cat.", "Yes."]


def test_ids_repeat_and_the_same_record_is_one(read_all):
    entry = {"id": 1, "messages": talk("What?", "A cat."), "images": "1.png"}
    found, rejected = read_all([entry, entry, {**entry, "images": "2.png"}])
    assert [item.record.id for item in found] == ["1", "1#2"]
    assert rejected == [{"id": "1", "reason": "the same record stands twice"}]


def test_lines_splits_by_files_and_what_is_nested_too_deeply(read_all, tmp_path):
    good = json.dumps({"messages": talk("What?", "A cat."), "images": "1.png"})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text(f"{good}\n{'[' * 100_000}\n")
    (tmp_path / "set" / "test.jsonl").write_text(good.replace("1.png", "2.png"))
    found, rejected = read_set(tmp_path, "messages", ("set",))
    assert [(item.image.path.name, item.split) for item in found] == [("2.png", "test"), ("1.png", "train")]
    assert [item["id"] for item in rejected] == ["train.jsonl, line 2"]

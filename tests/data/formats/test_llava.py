"""LLaVA's JSON as people write it: every quirk is a record that says what was meant, or one line that says why not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

from tinygptv.config import DataSet
from tinygptv.data.formats.llava import read
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.record_rules import check_record
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import open_source, raw_files
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file


@pytest.fixture
def root(tmp_path):
    """A folder with the pictures ``1.png``, ``2.png`` and ``more/3.png``."""
    for number, name in enumerate(("1.png", "2.png", "more/3.png")):
        path = tmp_path / "cats" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return tmp_path


@pytest.fixture
def read_all(root):
    """``read_all(entries, **settings)``: what is found in a file with these entries, rejections last."""

    def make(entries, text=None, **settings):
        (root / "cats.json").write_text(json.dumps(entries) if text is None else text)
        known = DataSet(
            **{"format": "llava", "files": ("cats.json",), "images": "cats/", "licence": "CC0-1.0"} | settings
        )
        files = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(known, root)]
        write_manifest(root / "manifest", files)
        items = list(read(open_source("cats", known, root, root / "manifest")))
        found = [item for item in items if not isinstance(item, dict)]
        for item in found:
            check_record(replace(item.record, dataset="cats"), "key")
        return found, [item for item in items if isinstance(item, dict)]

    return make


@pytest.fixture
def refuse(read_all):
    """``refuse(entry, **settings)``: the id and the reason of the entry's rejection."""

    def make(entry, **settings):
        found, (rejection,) = read_all([entry], **settings)
        assert found == []
        assert "\n" not in rejection["reason"]
        return rejection["id"], rejection["reason"]

    return make


def turns(*texts):
    """A conversation of these texts, the first a question."""
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]


def entry(*texts, **keys):
    """A record with a picture."""
    return {"id": "a", "image": "1.png", "conversations": turns(*(texts or ("<image>\nWhat?", "A cat."))), **keys}


WHAT = (Turn("What?", "A cat."),)


@pytest.mark.parametrize(
    "content",
    [
        entry(),
        entry("What?\n<image>", "A cat."),
        entry("<image>What?", "A cat."),
        entry("<image> <image>\n What?", "A cat."),
        entry("What?", "A cat."),
        entry(image=["1.png"]),
        entry(image=None, images=["1.png"]),
        entry(image="./1.png"),
        entry(split="train", model="gpt-4", score=float("nan"), system_prompt="", video=None),
        entry(
            conversations=[{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cat."}]
        ),
        entry(conversations=[{"from": "User", "value": "What?"}, {"from": " GPT", "value": "A cat.", "weight": 1}]),
    ],
)
def test_ways_to_write_one_record(read_all, root, content):
    (found,), rejected = read_all([content])
    assert rejected == []
    assert found.record == Record("a", "conversation", WHAT)
    assert found.image.path == root / "cats" / "1.png"
    assert found.image.read() == (root / "cats" / "1.png").read_bytes()
    assert found.split == ""


def test_lines_a_mark_at_the_start_and_several_files(root, read_all):
    (root / "more.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(entry(id="b")).encode() + b"\n{broken\n")
    found, rejected = read_all([entry()], files=("cats.json", "more.jsonl"))
    assert [item.record.id for item in found] == ["a", "b"]
    assert [item["id"] for item in rejected] == ["more.jsonl, line 2"]
    assert rejected[0]["reason"].startswith("is not valid JSON")


def test_pictures_are_found_below_their_folder_alone(read_all, root):
    for name in ("more/3.png", "more\\3.png", "./more//3.png", str(root / "cats/more/3.png"), "more/./3.png"):
        (found,), rejected = read_all([entry(image=name)])
        assert rejected == [], name
        assert found.image.path == root / "cats" / "more" / "3.png"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("3.png", "'3.png' is not in the folder cats/"),
        ("more", "is not in the folder"),
        ("1.PNG", "is not in the folder"),
        ("../cats.json", "lies outside of the folder"),
        ("more/../1.png", "lies outside of the folder"),
        ("..\\cats.json", "lies outside of the folder"),
        ("/etc/passwd", "lies outside of the folder"),
        ("https://host/1.png", "its picture is an address"),
        ("data:image/png;base64,AAAA", "its picture is an address"),
        ("\u202e1.png\ud800", r"'\\u202e1.png\\ud800' is not in"),
        (3, "must be the name of a file, not a number"),
        ({"path": "1.png"}, "must be the name of a file, not an object"),
        (["1.png", None], "must be the name of a file, not null"),
        (" ", "must be the name of a file"),
    ],
)
def test_a_picture_that_cannot_be_taken_is_named(refuse, name, words):
    record, reason = refuse(entry(image=name))
    assert record == "a"
    assert words.replace("\\\\", "\\") in reason


def test_a_picture_of_coco_s_has_any_of_its_names(read_all, root):
    for name in ("COCO_train2014_000000033471.jpg", "train2017/000000033472.jpg", "own/000000033473.jpg"):
        path = root / "cats" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    for image in ("000000033471.jpg", "train2017/000000033471.jpg", "coco/val2014/COCO_val2014_000000033471.jpg"):
        (found,), _ = read_all([entry(image=image)])
        assert found.image.path.name == "COCO_train2014_000000033471.jpg"
    (found,), _ = read_all([entry(image="000000033472.jpg")])
    assert found.image.path.name == "000000033472.jpg"
    _, rejected = read_all([entry(image="000000033473.jpg"), entry(image="mine/000000033471.jpg", id="b")])
    assert len(rejected) == 2, "a folder of somebody's own is none of COCO's"


def test_a_record_without_a_picture_has_that_of_coco_s_whose_number_it_is(read_all, root):
    Image.new("RGB", (8, 8)).save(root / "cats" / "COCO_train2014_000000033471.jpg")
    alone = {key: value for key, value in entry().items() if key != "image"}
    (found,), _ = read_all([{**alone, "id": "000000033471"}])
    assert found.image.path.name == "COCO_train2014_000000033471.jpg"
    for name in ("000000033472", "33471", 33471):
        assert read_all([{**alone, "id": name}])[0] == [], "its question has <image>, and there is none"
    (text,), _ = read_all([{"id": "000000033471", "conversations": turns("Hi", "Ho")}], images="")
    assert text.image is None


def test_without_a_folder_no_picture_is_looked_for(refuse, root):
    assert "the data set has no folder `images`" in refuse(entry(image="cats.json"), images="")[1]


def test_several_pictures_are_refused_with_a_count_or_the_first_is_trained(refuse, read_all):
    several = entry(image=["2.png", "1.png", "3.png"])
    assert "has 3 pictures" in refuse(several)[1]
    assert "has 3 pictures" in refuse(several, several_images="refuse")[1]
    (found,), _ = read_all([several], several_images="first")
    assert found.image.path.name == "2.png"
    assert found.record.turns == WHAT


def test_text_alone(read_all, refuse):
    for image in ({}, {"image": None}, {"image": ""}, {"image": []}):
        content = {"id": 7, "conversations": turns("Hi <b>", "<image> is a tag."), **image}
        (found,), rejected = read_all([content])
        assert (found.image, rejected) == (None, [])
        assert found.record == Record("7", "conversation", (Turn("Hi <b>", "<image> is a tag."),))
    content = {"id": 7, "conversations": turns("<image>\nWhat?", "A cat.")}
    assert refuse(content) == ("7", "a question has <image>, but the record names no picture in `image`")
    assert "the task vqa asks about one" in refuse({"id": 7, "conversations": turns("Hi", "Ho")}, task="vqa")[1]


def test_a_long_conversation_keeps_its_turns_and_its_texts(read_all):
    said = ["<image>\n  What?", " a\tcat ###\r\n", "\u202eand <image> now? ", "<|endoftext|>", "x" * 20_000, "y"]
    (found,), _ = read_all([entry(*said)])
    asked = [(turn.question, turn.answer) for turn in found.record.turns]
    assert asked == [("What?", said[1]), ("\u202eand now?", said[3]), (said[4], said[5])]


def test_a_system_text_stands_before_the_first_question(read_all):
    system = [{"from": "system", "value": "Be brief."}, *turns("<image>\nWhat?", "A cat.", "Sure?", "Yes.")]
    for content in (entry(conversations=system), entry("What?", "A cat.", "Sure?", "Yes.", system_prompt="Be brief.")):
        (found,), _ = read_all([content])
        assert [turn.question for turn in found.record.turns] == ["Be brief.\nWhat?", "Sure?"]


@pytest.mark.parametrize(
    ("conversations", "words"),
    [
        (None, "must be a list of turns, not null"),
        ("What?", "must be a list of turns, not text"),
        ([], "has no question"),
        ([{"from": "system", "value": "Be brief."}], "has no question"),
        (turns("What?"), "the last question has no answer"),
        (turns("What?", "A cat.", "Sure?"), "the last question has no answer"),
        (turns("What?", "A cat.")[::-1], "turn 1 is an answer and is the first"),
        ([*turns("What?"), *turns("Hm?", "A cat.")], "turn 2 is a question and comes after a question"),
        ([*turns("What?", "A"), *turns("x", "cat.")[1:]], "turn 3 is an answer and comes after an answer"),
        ([*turns("What?", "A."), {"from": "system", "value": "x"}], "turn 3 is a system and comes after an answer"),
        (turns("What?", ""), "turn 2: the answer is empty"),
        (turns("What?", " \n"), "turn 2: the answer is empty"),
        (turns("What?", None), "turn 2: `value` must be text, not null"),
        (turns("What?", 4), "turn 2: `value` must be text, not a number"),
        (turns([{"type": "image"}], "A cat."), "turn 1: `value` must be text, not a list"),
        ([{"from": "tool", "value": "x"}], "turn 1 is from 'tool'"),
        ([{"value": "x"}], "turn 1 does not say whom it is `from`"),
        (["What?", "A cat."], "turn 1 must be an object"),
        (turns("<image>", "A cat."), "asks nothing beside <image>"),
    ],
)
def test_a_conversation_that_is_none_is_refused_with_its_turn(refuse, conversations, words):
    record, reason = refuse(entry(conversations=conversations))
    assert record == "a"
    assert words in reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "a record is an object with `conversations`, not a list"),
        ("a", "not text"),
        (entry(id=1.5), "`id` must be text or a whole number, not a number"),
        (entry(id=True), "not true or false"),
        (entry(video="a.mp4"), "is about a video"),
        (entry(image="x" * 100_000), "xxx' is not in the folder"),
        (entry(system_prompt=3), "`system_prompt` must be text"),
    ],
)
def test_other_faults(refuse, content, words):
    assert words in refuse(content)[1]


def test_what_has_no_id_is_told_by_its_place_and_named_by_its_content(read_all):
    nameless = {key: value for key, value in entry().items() if key != "id"}
    other = nameless | {"image": "2.png"}
    found, rejected = read_all([nameless, {}, nameless | {"id": None}, other])
    assert rejected == [{"id": "cats.json, entry 2", "reason": "`conversations` must be a list of turns, not null"}]
    first, second, third = (item.record.id for item in found)
    assert len({first, second, third}) == 3
    shifted, _ = read_all([entry(), other, nameless])
    assert [item.record.id for item in shifted] == ["a", third, first], "another place, the same name"


def test_ids_repeat_as_in_the_files_of_llava(read_all):
    found, rejected = read_all([entry(), entry("Where?", "There."), entry(), entry(id=0), entry(id="0", image="2.png")])
    assert [item.record.id for item in found] == ["a", "a#2", "0", "0#2"]
    assert rejected == [{"id": "a", "reason": "the same record stands twice"}]


def test_a_task_makes_a_record_of_each_turn(read_all, refuse):
    found, _ = read_all(
        [entry("<image>\nWhat?", "A cat.", "Where?", "There."), entry("What?", "A dog.", id="b")], task="vqa"
    )
    assert [item.record for item in found] == [
        Record("a-1", "vqa", WHAT),
        Record("a-2", "vqa", (Turn("Where?", "There."),)),
        Record("b", "vqa", (Turn("What?", "A dog."),)),
    ]
    assert len({item.image.sha256 for item in found}) == 1
    (caption,), _ = read_all([entry("<image>\nProvide a brief description.", "A cat.")], task="caption")
    assert caption.record == Record("a", "caption", (Turn("", "A cat."),))


def test_boxes_in_texts_are_boxes_of_the_record(read_all):
    (found,), _ = read_all([entry("the cat", "{<10><20><30><40>}")], task="refer")
    assert found.record.boxes == ((10, 20, 30, 40),)
    (found,), _ = read_all([entry("<image>\nWhere?", "at {<10><20><10><40>}, {<10><20><10><40>}")])
    assert found.record.boxes == ((10, 20, 11, 40),)


def test_ids_of_any_characters_do_no_harm(read_all):
    for name in ("\ud800", "\u202eevil", "x" * 1000, "line\nbreak"):
        _, (rejection,) = read_all([entry(image="none.png", id=name)])
        assert rejection["id"].isprintable()
        assert len(rejection["id"]) <= 200


@pytest.mark.parametrize(
    "text", ['[{"id": 1},', '[{"id": "a"},]', '[{"id": "a"}, ...]', "id,image\n", "", '[{"a": NaN}]x']
)
def test_a_file_that_is_no_json_is_one_line(read_all, text):
    with pytest.raises(DataError, match=r"cats\.json"):
        read_all([], text=text)

"""The record format: a good sample passes, and each broken rule is named."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from PIL import Image

from tests.data.texts import HARMLESS
from tinygptv.data import images
from tinygptv.data.images import ImageError, read_image
from tinygptv.data.record_json import parse_alone, parse_record, parse_sample
from tinygptv.data.record_rules import RecordError


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


IMAGE = encode(Image.new("RGB", (8, 6), "red"))


def content(image=IMAGE):
    return {
        "image": {"file": "a-1.png", "width": 8, "height": 6, "sha256": hashlib.sha256(image).hexdigest()},
        "source": "test",
        "licence": "MIT",
        "records": [
            {
                "id": "a-1-refer",
                "task": "refer",
                "turns": [{"question": "red circle", "answer": "{<1><2><30><40>}"}],
                "boxes": [[1, 2, 30, 40]],
            }
        ],
    }


def changed(path, value):
    sample = content()
    *parents, last = path
    place = sample
    for part in parents:
        place = place[part]
    place[last] = value
    return json.dumps(sample).encode()


def of_version_2(**changes):
    return {**content(), "version": 2, "dataset": "my_cats"} | changes


def parsed(sample, key="a-1"):
    return parse_record(key, json.dumps(sample).encode())


CHAT = {"id": "r-1", "task": "conversation", "turns": [{"question": "why?", "answer": "so"}], "boxes": []}
VOTES = [["cat", 0.75], ["a cat", 0.25]]


def with_votes(answer="cat", votes=VOTES):
    turn = {"question": "what?", "answer": answer, "accepted": votes}
    return of_version_2(records=[{"id": "a-1-vqa", "task": "vqa", "turns": [turn], "boxes": []}])


def annotated(annotation):
    return of_version_2(image=None, records=[CHAT | {"annotation": annotation}])


def test_a_record_keeps_what_a_benchmark_says_of_it():
    record = parsed(annotated({"answers": ["yes", "no"], "café": 1.5}))
    assert record.records[0].annotation == {"answers": ["yes", "no"], "café": 1.5}
    assert parse_record("a-1", record.to_json()) == record
    assert b"annotation" not in parsed(of_version_2()).to_json()


def test_a_record_knows_its_data_set_and_one_of_the_first_version_is_of_easy_vqa():
    assert [record.dataset for record in parsed(of_version_2()).records] == ["my_cats"]
    assert [record.dataset for record in parsed(content()).records] == ["easy_vqa"]
    assert parsed(of_version_2()).dataset == "my_cats"


def test_a_sample_may_have_no_image():
    record = parsed(of_version_2(image=None, records=[CHAT]))
    assert record.image is None
    sample = parse_sample("a-1", record.to_json(), b"")
    assert (sample.record, sample.image, sample.image_bytes) == (record, None, b"")


def test_several_accepted_answers_have_weights():
    record = parsed(with_votes())
    assert record.records[0].turns[0].accepted == (("cat", 0.75), ("a cat", 0.25))
    assert parse_record("a-1", record.to_json()) == record


def with_wordings(*wordings, question="the cat"):
    turn = {"question": question, "answer": "{<1><2><3><4>}", "wordings": list(wordings)}
    return of_version_2(records=[{"id": "a-1-refer", "task": "refer", "turns": [turn], "boxes": [[1, 2, 3, 4]]}])


def test_a_question_may_be_put_in_several_ways():
    record = parsed(with_wordings("the cat", "the animal"))
    assert record.records[0].turns[0].questions == ("the cat", "the animal")
    assert parse_record("a-1", record.to_json()) == record
    assert b"wordings" not in parsed(of_version_2()).to_json()


@pytest.mark.parametrize("sample", [of_version_2(), of_version_2(image=None, records=[CHAT]), with_votes()])
def test_every_record_can_be_read_alone_out_of_the_bytes_of_its_sample(sample):
    sample["records"] = [*sample["records"]] + ([] if sample["image"] is None else [CHAT])
    record = parsed(sample)
    whole, places = record.json_and_places()
    assert parse_record("a-1", whole) == record
    assert [parse_alone(whole[at : at + size], "my_cats", "a-1") for at, size in places] == list(record.records)


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (of_version_2(version=3), "is of version 3, and 2 is the newest"),
        (of_version_2(dataset="my cats"), "dataset must be the name of a data set, not 'my cats'"),
        (of_version_2(dataset=None), "dataset must be the name of a data set, not None"),
        (of_version_2(image=None), "task refer needs an image"),
        (of_version_2(image=None, records=[CHAT, CHAT | {"id": "r-2"}]), "has no image and 2 records"),
        (with_votes(answer="a cat"), "answer must be the heaviest of accepted"),
        (with_votes(votes=[["cat", 0.0]]), "weight is a number above 0 such as 3.0, not 0.0"),
        (with_votes(votes=[["cat", True]]), "weight is a number above 0 such as 3.0, not True"),
        (with_votes(votes=[["cat", 3]]), "such as 3.0, not 3"),
        (with_votes(votes=[["cat", 1.0], [" ", 0.5]]), "an accepted answer is empty"),
        (with_votes(votes=[["cat", 1.0]] * 101), "accepted must number at most 100"),
        (with_votes(votes=[["cat"]]), r"accepted must be a list of \[text, weight\]"),
        (with_votes(votes=[["cat", 1.0], ["{<1><2><3><4>}", 0.5]]), "is not among boxes"),
        (with_wordings("the cat"), "wordings must be 2 to 100 texts, the question first"),
        (with_wordings("a cat", "the cat"), "wordings must be 2 to 100 texts, the question first"),
        (with_wordings("the cat", " "), "a wording of the question is empty"),
        (with_wordings("the cat", 3), "a wording of the question must be text, not int"),
        (with_wordings("the cat", "{<9><9><9><9>}"), "is not among boxes"),
        ([], "the sample must be an object, not list"),
        (annotated(["yes"]), "annotation must be an object, not list"),
        (annotated({"text": "\ud800"}), "annotation is no JSON"),
        (annotated({"text": "x" * 1_000_001}), "annotation has 1000013 bytes, and 1000000 are the most"),
    ],
)
def test_broken_rules_of_version_2(sample, said):
    with pytest.raises(RecordError, match=said):
        parsed(sample)


def test_good_sample():
    sample = parse_sample("a-1", json.dumps(content()).encode(), IMAGE)
    assert sample.image.size == (8, 6)
    assert sample.record.records[0].boxes == ((1, 2, 30, 40),)
    assert parse_record("a-1", sample.record.to_json()) == sample.record


RECORD = ("records", 0)
ANSWER = (*RECORD, "turns", 0, "answer")
BAD = {
    "unknown task": ((*RECORD, "task"), "dance"),
    "answer is empty": (ANSWER, "  "),
    "question is empty, but the task refer asks one": ((*RECORD, "turns", 0, "question"), " \n"),
    "answer has 1000001 characters, and 1000000 are the most": (ANSWER, "x" * 1_000_001),
    r"answer has half a character \(U\+D800\); save the file as UTF-8": (ANSWER, "a\ud800b"),
    "answer is empty: nothing in it": (ANSWER, "\u202e\u200f\t"),
    r"id has the character U\+202E": ((*RECORD, "id"), "a-1\u202e"),
    r"source has the character U\+0009": (("source",), "my\tphotographs"),
    "question must be text": ((*RECORD, "turns", 0, "question"), 3),
    "a turn lacks answer": ((*RECORD, "turns", 0), {"question": "x"}),
    "turns must number": ((*RECORD, "turns"), []),
    "turns and boxes must be lists": ((*RECORD, "turns"), "x"),
    "needs a box": ((*RECORD, "boxes"), []),
    "0 to 100": ((*RECORD, "boxes"), [[0, 0, 101, 5]]),
    "four whole numbers": ((*RECORD, "boxes"), [[0, 0, 5.0, 5]]),
    "not \\(True": ((*RECORD, "boxes"), [[True, 0, 5, 5]]),
    "its left edge is right of its right edge": ((*RECORD, "boxes"), [[6, 0, 5, 5]]),
    "its upper edge is below its lower edge": ((*RECORD, "boxes"), [[0, 6, 5, 5]]),
    "not among boxes": ((*RECORD, "boxes"), [[1, 2, 30, 41]]),
    "unknown field 'extra'": (("extra",), 1),
    "id is empty": ((*RECORD, "id"), ""),
    "records must be a list": (("records",), []),
    "a record must be an object": (RECORD, 5),
    "licence is empty": (("licence",), ""),
    "image.sha256 must be": (("image", "sha256"), "xyz"),
    "do not have image.sha256": (("image", "sha256"), "0" * 64),
    "8, 6": (("image", "width"), 9),
    "image.height must be": (("image", "height"), "6"),
    "image.file must be": (("image", "file"), "../a-1.png"),
}


@pytest.mark.drill(17, "texts with controls, marks and wrong sizes: rejected by name")
@pytest.mark.parametrize("reason", BAD)
def test_every_broken_rule_is_named(reason):
    with pytest.raises(RecordError, match=reason) as caught:
        parse_sample("a-1", changed(*BAD[reason]), IMAGE)
    assert "\n" not in str(caught.value)
    assert caught.value.record.startswith("a-1")


@pytest.mark.drill(17, "texts with controls and marks: read as they are")
@pytest.mark.parametrize("text", HARMLESS, ids=lambda text: ascii(text)[:20])
@pytest.mark.parametrize("part", ["question", "answer"])
def test_a_text_is_read_as_it_is(text, part):
    sample = parse_sample("a-1", changed((*RECORD, "turns", 0, part), text), IMAGE)
    assert getattr(sample.record.records[0].turns[0], part) == text
    assert parse_record("a-1", sample.record.to_json()) == sample.record


@pytest.mark.parametrize(
    ("thin", "wide"),
    [([5, 0, 5, 5], (5, 0, 6, 5)), ([0, 100, 7, 100], (0, 99, 7, 100)), ([0, 0, 0, 0], (0, 0, 1, 1))],
)
def test_a_box_thinner_than_a_hundredth_is_a_hundredth_wide(thin, wide):
    record = parse_record("a-1", changed((*RECORD, "boxes"), [[1, 2, 30, 40], thin]))
    assert record.records[0].boxes == ((1, 2, 30, 40), wide)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\xff{}", "UTF-8"), (b"{", "JSON"), (b"[" * 100_000, "JSON"), (b"[]", "object"), (b'{"a": NaN}', "NaN")],
)
def test_json_that_is_none(data, reason):
    with pytest.raises(RecordError, match=reason):
        parse_record("a-1", data)


def test_an_id_comes_once():
    sample = content()
    sample["records"] *= 2
    with pytest.raises(RecordError, match="twice"):
        parse_record("a-1", json.dumps(sample).encode())


@pytest.mark.parametrize("key", ["../a", "a.b", "", "-a", "a b", "a" * 91])
def test_keys_are_plain(key):
    sample = content()
    sample["image"]["file"] = f"{key}.png"
    with pytest.raises(RecordError, match="a key has"):
        parse_record(key, json.dumps(sample).encode())


@pytest.mark.drill(16, "images of foreign, damaged and odd forms")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_known_images_become_rgb(kind, mode):
    data = encode(Image.new("RGB", (5, 4), "red").convert(mode if (mode, kind) != ("P", "JPEG") else "L"), kind)
    image = read_image(data, "a")
    assert (image.mode, image.size) == ("RGB", (5, 4))


def flip(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.drill(16, "images of foreign, damaged and odd forms")
@pytest.mark.parametrize(
    "data",
    [b"", IMAGE[:-20], flip(IMAGE, 45), encode(Image.new("RGB", (4, 4)), "GIF")],
    ids=["empty", "cut", "flipped", "gif"],
)
def test_damaged_and_foreign_images(data):
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(data, "a")


def test_extension_tells_the_format():
    jpeg = encode(Image.new("RGB", (8, 6)), "JPEG")
    with pytest.raises(RecordError, match="unknown format"):
        parse_sample("a-1", json.dumps(content(jpeg)).encode(), jpeg)


@pytest.mark.drill(16, "images of foreign, damaged and odd forms")
def test_image_bomb_is_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 47)
    with pytest.raises(ImageError, match="8x6 pixels, more than 47"):
        read_image(IMAGE, "a")

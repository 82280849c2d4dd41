"""Records sorted on the disk: each in its split and block, repeated ones once, whole or not there."""

from __future__ import annotations

import hashlib

import pytest

from tests.data.made import picture
from tinygptv.data import rows as module
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import Record, Turn, image_key, text_key
from tinygptv.data.rows import SetRows, collect, open_rows, split_of
from tinygptv.data.source import Found, ImageFile
from tinygptv.ground.errors import DataError, NoSpaceError

SHARES = {"val": 0.25, "test": 0.125}


def found(name, image, task="vqa", split=""):
    return Found(Record(name, task, (Turn("what?", name),)), image, split)


@pytest.fixture
def make(tmp_path):
    """``make(items)``: the opened rows of a data set."""

    def write(items, shares=SHARES, made_of="x"):
        path = tmp_path / "cats.sqlite"
        collect(path, "cats", items, shares, made_of)
        return SetRows(path)

    return write


def image_file(folder, number):
    content = picture(number)
    path = folder / f"{number}.png"
    path.write_bytes(b"..." + content + b"...")
    return ImageFile(path, 3, len(content), hashlib.sha256(content).hexdigest())


def ids(rows, split="train", bits=0):
    return [name for block in range(2**bits) for sample in rows.block(split, block, bits) for name in sample.ids]


def test_samples_are_sorted_by_key_and_records_by_position(make, tmp_path):
    images = [image_file(tmp_path, number) for number in range(12)]
    items = [found(f"{number}-{part}", image) for part in "ba" for number, image in enumerate(images)]
    items.append(found("talk", None, "conversation"))
    rows = make(items, {})
    samples = rows.block("train", 0, 0)
    keys = sorted([*(image_key(image.sha256) for image in images), text_key("cats", "talk")])
    assert [sample.key for sample in samples] == keys
    assert rows.samples == {"train": 13, "val": 0, "test": 0}
    assert rows.found == 25
    for sample in samples:
        if sample.image is None:
            assert (sample.ids, sample.sha256) == (("talk",), "")
        else:
            assert [name[-1] for name in sample.ids] == ["b", "a"]
            assert hashlib.sha256(rows.image_bytes(sample)).hexdigest() == sample.sha256


@pytest.mark.parametrize("bits", [0, 1, 4])
def test_blocks_are_the_first_bits_of_keys(make, bits):
    rows = make([found(str(number), picture(number)) for number in range(60)], {})
    blocks = [[sample.key for sample in rows.block("train", block, bits)] for block in range(2**bits)]
    assert sorted(key for block in blocks for key in block) == [key for block in blocks for key in block]
    assert sum(map(len, blocks)) == 60
    for number, block in enumerate(blocks):
        assert {int(key, 16) >> (128 - bits) for key in block} <= {number}


def test_images_may_be_bytes(make):
    rows = make([found("a", picture(1)), found("b", picture(2)), found("c", picture(1))], {})
    assert sorted(rows.image_bytes(sample) for sample in rows.block("train", 0, 0)) == sorted(map(picture, (1, 2)))


def test_an_image_falls_alike_everywhere_and_shares_hold(make):
    rows = make(
        item
        for number in range(400)
        for item in (found(f"{number}a", picture(number)), found(f"{number}b", picture(number)))
    )
    assert sum(rows.samples.values()) == 400
    assert 70 < rows.samples["val"] < 130
    assert 30 < rows.samples["test"] < 75
    for split in rows.samples:
        for sample in rows.block(split, 0, 0):
            assert split_of(sample.key, SHARES) == split
            assert len(sample.ids) == 2


def test_splits_and_blocks_do_not_hang_together(make):
    """Were both the first bits, the held-out samples would all lie in the first block."""
    rows = make(found(str(number), picture(number)) for number in range(300))
    assert all(len(rows.block("val", block, 1)) > 15 for block in range(2))


def test_the_files_own_splits_are_kept(make):
    rows = make([found("a", picture(1), split="val"), found("b", picture(1), split="train")])
    assert (ids(rows, "val"), ids(rows, "train")) == (["a"], ["b"])


def test_bad_records_are_left_out(make):
    items = [
        {"id": "from the form", "reason": "no image"},
        Found(Record("empty", "vqa", (Turn("what?", " "),)), picture(1)),
        Found(Record("a\x07", "vqa", (Turn("what?", "b"),)), picture(1)),
        Found(Record("half", "vqa", (Turn("what? \ud800", "b"),)), picture(1)),
        Found(Record("no image", "vqa", (Turn("what?", "b"),)), None),
        found("good", picture(1)),
    ]
    rows = make(items, {})
    assert ids(rows) == ["good"]
    listed = rows.rejections.to_json()["records"]
    assert [item["id"] for item in listed] == ["empty", "from the form", "half", "no image", "record 3 of cats"]
    assert "needs an image" in listed[3]["reason"]
    assert rows.found == 6


def test_of_repeated_ids_the_first_stays(make):
    items = [found("a", picture(1)), found("b", picture(2)), found("a", picture(3)), found("a", picture(1))]
    rows = make(items, {})
    assert sorted(ids(rows)) == ["a", "b"]
    assert [sample.key for sample in rows.block("train", 0, 0) if sample.ids == ("a",)] == [
        image_key(hashlib.sha256(picture(1)).hexdigest())
    ]
    assert rows.rejections.to_json()["reasons"] == {"the id appears twice": 2}
    assert rows.samples["train"] == 2


def test_rows_are_there_when_all_of_them_are(make, tmp_path):
    def failing():
        yield found("a", picture(1))
        raise RecordError("is damaged", "b")

    with pytest.raises(RecordError):
        make(failing())
    assert open_rows(tmp_path / "cats.sqlite", "x") is None
    make([found("a", picture(1))])
    assert ids(
        open_rows(tmp_path / "cats.sqlite", "x"), split_of(image_key(hashlib.sha256(picture(1)).hexdigest()), SHARES)
    ) == ["a"]
    assert open_rows(tmp_path / "cats.sqlite", "y") is None
    make([found("b", picture(2))], made_of="y")
    assert open_rows(tmp_path / "cats.sqlite", "y").found == 1


@pytest.mark.parametrize("damage", ["other", "cut", "gone"])
def test_an_image_that_download_did_not_see_is_named(make, tmp_path, damage):
    image = image_file(tmp_path, 1)
    rows = make([found("a", image)], {})
    if damage == "gone":
        image.path.unlink()
    else:
        image.path.write_bytes(image.path.read_bytes()[: 30 if damage == "cut" else None].replace(b"PNG", b"GNP"))
    with pytest.raises(DataError, match=r"1\.png is missing, or is not what .download. saw; run .dvc repro download."):
        rows.image_bytes(rows.block("train", 0, 0)[0])


def test_names_of_files_that_are_no_text(make, tmp_path):
    import os

    path = tmp_path / os.fsdecode(b"\xff.png")
    path.write_bytes(picture(1))
    image = ImageFile(path, 0, len(picture(1)), hashlib.sha256(picture(1)).hexdigest())
    rows = make([found("a", image)], {})
    assert rows.image_bytes(rows.block("train", 0, 0)[0]) == picture(1)


def test_an_image_that_no_tar_may_hold_is_left_out(make, tmp_path):
    huge = ImageFile(tmp_path / "huge.png", 0, (128 << 20) + 1, "0" * 64)
    rows = make([found("huge", huge), found("good", picture(1))], {})
    assert ids(rows) == ["good"]
    assert "134217729 bytes" in rows.rejections.to_json()["records"][0]["reason"]


def test_a_full_disk_is_told(make, monkeypatch):
    monkeypatch.setattr(module, "_TABLES", f"PRAGMA max_page_count = 12;\n{module._TABLES}")
    with pytest.raises(NoSpaceError):
        make(found(str(number), picture(number)) for number in range(500))


def test_rows_that_are_damaged_are_none(make, tmp_path):
    make([found(str(number), picture(number)) for number in range(40)])
    path = tmp_path / "cats.sqlite"
    content = path.read_bytes()
    for damaged in (b"", content[:3000], b"x" * 5000):
        path.write_bytes(damaged)
        assert open_rows(path, "x") is None


def test_pictures_with_the_same_bytes_under_other_names_are_told(make, tmp_path):
    images = [image_file(tmp_path, number) for number in range(3)]
    (tmp_path / "copy").mkdir()
    again = [image_file(tmp_path / "copy", number) for number in (1, 1, 2)]
    items = [found(f"a{n}", image) for n, image in enumerate(images)]
    items += [found("same", images[1]), found("b1", again[0]), found("b1-2", again[1]), found("b2", again[2])]
    items += [found("c", picture(0)), found("talk", None, "conversation")]
    told = {name: (path, first, other) for name, path, first, other in make(items).doubled()}
    assert told == {
        "b1": (again[0].path, "a1", images[1].path),
        "b2": (again[2].path, "a2", images[2].path),
    }

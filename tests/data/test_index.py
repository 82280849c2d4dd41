"""The index of a split: every record found where it lies, columns as they are, damage named."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from tinygptv.data import index as module
from tinygptv.data.index import RecordIndex, block_name
from tinygptv.data.index_writer import IndexPart, write_index
from tinygptv.data.marks import most_bytes
from tinygptv.data.records import TASKS, ImageInfo, ImageRecord, Record, Turn, image_key, text_key
from tinygptv.data.shards import write_block
from tinygptv.ground.errors import DataError

ACCEPTED = (("bb", 2.0), ("cccc", 1.0))


def picture(number):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def sample(number, dataset="cats"):
    content = picture(number)
    digest = hashlib.sha256(content).hexdigest()
    key = image_key(digest)
    records = [
        Record(f"{number}-caption", "caption", (Turn("", f"a cät {number}"),), (), dataset),
        Record(f"{number}-vqa-0", "vqa", (Turn("what?", "a"), Turn("whö?", "bb", ACCEPTED)), (), dataset),
        Record(f"{number}-vqa-1", "vqa", (Turn("why?", "so"),), (), dataset),
    ]
    return ImageRecord(key, ImageInfo(f"{key}.png", 8, 8, digest), "cats", "MIT", tuple(records)), content


def text(number, dataset="cats"):
    record = Record(f"text-{number}", "conversation", (Turn("say {}", "so"),), (), dataset)
    return ImageRecord(text_key(dataset, record.id), None, "cats", "MIT", (record,)), b""


@pytest.fixture
def build(tmp_path):
    """``build(*blocks)``: the index of a split with these samples in its blocks."""

    def make(*blocks):
        parts = []
        for number, samples in enumerate(blocks):
            name = block_name("train", number)
            rows = tmp_path / f"{name}.npy"
            ordered = sorted(samples, key=lambda pair: pair[0].key)
            sha256, facts = write_block(tmp_path / f"{name}.tar", rows, ordered)
            parts.append(IndexPart(rows, number, sha256, facts["samples"], facts["tasks"]))
        path = tmp_path / "train.arrow"
        write_index(path, "cats", parts)
        return path

    return make


def test_every_record_is_found_in_the_order_of_task_block_key_and_position(build):
    blocks = [[sample(n) for n in range(5)], [], [sample(9), text(1), text(2)]]
    index = RecordIndex(build(*blocks))
    expected = []
    for task in TASKS:
        begin = len(expected)
        for samples in blocks:
            for info, _ in sorted(samples, key=lambda pair: pair[0].key):
                image = bytes.fromhex(info.image.sha256) if info.image else None
                expected += [(record, image) for record in info.records if record.task == task]
        assert index.rows(task) == range(begin, len(expected))
    assert len(index) == len(expected) == 20
    assert [index.record(row) for row in range(len(index))] == expected
    assert [index.block(row) for row in range(len(index))] == np.concatenate(
        list(index.column("block", range(20)))
    ).tolist()
    assert [index.image(row) for row in range(len(index))] == [image for _, image in expected]
    assert index.dataset == "cats"
    assert [samples for _, samples in index.blocks.values()] == [5, 0, 3]
    for row in (-1, 20):
        with pytest.raises(IndexError):
            index.record(row)
    index.close()
    assert index.record(3) == expected[3]
    index.close()


def test_images_are_read_where_they_lie(build, tmp_path):
    index = RecordIndex(build([sample(1), text(2), sample(3)], [sample(4)]))
    digests = [index.image(row) for row in range(len(index))]
    found = [index.image_bytes(row) for row, digest in enumerate(digests) if digest]
    assert [hashlib.sha256(content).digest() for content in found] == [digest for digest in digests if digest]
    assert set(found) == {picture(1), picture(3), picture(4)}
    tar = tmp_path / "train-000001.tar"
    content = tar.read_bytes()
    place = content.index(picture(4)) + 20
    tar.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    row = digests.index(hashlib.sha256(picture(4)).digest())
    with pytest.raises(DataError, match=rf"train-000001\.tar: the image of row {row} in train\.arrow is damaged"):
        index.image_bytes(row)


def test_columns_say_what_the_texts_say(build, monkeypatch):
    """Also over the ends of batches, which are of one size."""
    monkeypatch.setattr(module, "BATCH_ROWS", 4)
    index = RecordIndex(build([sample(n) for n in range(3)], [text(n) for n in range(3)]))
    vqa = index.rows("vqa")
    pieces = list(index.column("longest_answer_bytes", vqa))
    assert [len(piece) for piece in pieces] == [4, 2]
    assert np.concatenate(pieces).tolist() == [4, 2, 4, 2, 4, 2]
    values = {name: np.concatenate(list(index.column(name, range(len(index))))) for name in module.COLUMNS}
    assert values["image"].shape == (12, 32)
    assert values["image"].dtype == np.uint8
    assert values["image"][index.rows("conversation")].any() == False  # noqa: E712
    records = [index.record(row)[0] for row in range(len(index))]
    assert values["turns"].tolist() == [len(record.turns) for record in records]
    assert values["question_bytes"].tolist() == [sum(most_bytes(t.question) for t in r.turns) for r in records]
    assert values["first_question_bytes"].tolist() == [most_bytes(r.turns[0].question) for r in records]
    assert values["answer_bytes"][vqa][:2].tolist() == [5, 2]
    assert list(index.column("block", range(0))) == []


def test_the_columns_are_the_mapped_file(build):
    path = build([sample(n) for n in range(5)])
    for piece in RecordIndex(path).column("offset", range(15)):
        assert not piece.flags.owndata
        assert not piece.flags.writeable


def test_an_arrow_reader_sees_null_where_there_is_no_image(build):
    import pyarrow as pa

    table = pa.ipc.open_file(build([sample(1), text(1)])).read_all()
    assert table.column("image").null_count == 1
    assert table.column("image").to_pylist()[-1] is None
    assert json.loads(table.schema.metadata[b"tasks"])["vqa"] == [0, 2]
    assert not pa.ipc.open_file(build([sample(1)])).get_batch(0).column("image").null_count


def test_equal_samples_are_equal_bytes_however_batches_fall(build, monkeypatch):
    blocks = [[sample(n) for n in range(9)], [sample(n) for n in range(20, 40)], [text(3)]]
    first = build(*blocks).read_bytes()
    assert build(*blocks).read_bytes() == first
    monkeypatch.setattr(module, "BATCH_ROWS", 7)
    index = RecordIndex(build(*blocks))
    records = [index.record(row) for row in range(len(index))]
    assert len(records) == 88
    monkeypatch.undo()
    again = RecordIndex(build(*blocks))
    assert [again.record(row) for row in range(len(again))] == records


def test_an_empty_split(build):
    index = RecordIndex(build())
    assert len(index) == 0
    assert index.rows("vqa") == range(0)
    assert list(index.column("size", index.rows("vqa"))) == []


def test_few_tars_are_open(build, monkeypatch):
    monkeypatch.setattr(module, "_OPEN", 2)
    index = RecordIndex(build(*([sample(n)] for n in range(6))))
    for row in (*range(len(index)), *range(len(index))):
        index.record(row)
        assert len(index._handles) <= 2


@pytest.mark.drill(14, "a shard cut, flipped or missing: never silent")
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "another"])
def test_a_tar_that_is_not_the_one_of_the_index_is_named(build, tmp_path, damage):
    path = build([sample(1), sample(2)])
    tar = tmp_path / "train-000000.tar"
    content = tar.read_bytes()
    if damage == "flipped":
        place = content.index(b"a c\xc3\xa4t")
        tar.write_bytes(content[:place] + b"A" + content[place + 1 :])
    elif damage == "cut":
        tar.write_bytes(content[:700])
    elif damage == "gone":
        tar.unlink()
    else:
        write_block(tar, tmp_path / "x", [sample(3), sample(4)])
    with pytest.raises(DataError, match=r"train-000000\.tar") as caught:
        index = RecordIndex(path)
        list(map(index.record, range(len(index))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["gone", "cut", "head", "foreign"])
def test_an_index_that_is_none_is_named(build, damage):
    import pyarrow as pa

    path = build([sample(1), sample(2)])
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-30])
    elif damage == "head":
        path.write_bytes(b"")
    else:
        table = pa.table({"block": [1]})
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(DataError, match=r"train\.arrow"):
        RecordIndex(path)

"""Hugging Face's folders of pictures: metadata wherever they lie, folders of splits, folders of classes."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.formats.official import draw, read_set, write_lines
from tinygptv.config import DataSet
from tinygptv.data.formats.imagefolder import read
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.records import Turn
from tinygptv.data.source import open_source, raw_files
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file


def folder(root, *names):
    """Pictures below ``images``."""
    for number, name in enumerate(names):
        draw(root / "images" / name, number)


def said(root, **settings):
    """Picture, answer and split of every record; what is left out."""
    found, rejected = read_set(root, "imagefolder", (), **settings)
    images = root / "images"
    told = [(item.image.path.relative_to(images).as_posix(), item.record.turns[0].answer, item.split) for item in found]
    return told, rejected


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_metadata_at_the_root(tmp_path, kind):
    folder(tmp_path, "1.png", "more/2.png", "unnamed.png")
    rows = [{"file_name": "1.png", "text": "a cat"}, {"file_name": "more/2.png", "text": "a dog"}]
    path = tmp_path / "images" / f"metadata.{kind}"
    if kind == "jsonl":
        write_lines(path, rows)
    elif kind == "csv":
        path.write_text("file_name,text\n1.png,a cat\nmore/2.png,a dog\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert said(tmp_path) == ([("1.png", "a cat", ""), ("more/2.png", "a dog", "")], [])


def test_metadata_of_each_split_folder(tmp_path):
    folder(tmp_path, "train/1.png", "validation/1.png", "test/1.png")
    for split in ("train", "validation", "test"):
        write_lines(tmp_path / "images" / split / "metadata.jsonl", [{"file_name": "1.png", "caption": f"of {split}"}])
    assert said(tmp_path)[0] == [
        ("test/1.png", "of test", "test"),
        ("train/1.png", "of train", "train"),
        ("validation/1.png", "of validation", "val"),
    ]


def test_metadata_at_the_root_name_pictures_of_split_folders(tmp_path):
    folder(tmp_path, "train/1.png", "test/1.png")
    rows = [{"file_name": "train/1.png", "text": "a cat"}, {"file_name": "test/1.png", "text": "a dog"}]
    write_lines(tmp_path / "images" / "metadata.jsonl", rows)
    assert said(tmp_path)[0] == [("train/1.png", "a cat", "train"), ("test/1.png", "a dog", "test")]


def test_a_folder_of_training_alone_is_no_split(tmp_path):
    folder(tmp_path, "train/cat/1.png", "train/dog/2.png")
    assert said(tmp_path)[0] == [("train/cat/1.png", "cat", ""), ("train/dog/2.png", "dog", "")]


def test_several_pictures_of_a_row(tmp_path):
    folder(tmp_path, "1.png", "2.png")
    row = {"left_file_name": "1.png", "right_file_name": "2.png", "text": "alike"}
    write_lines(tmp_path / "images" / "metadata.jsonl", [row])
    _, (rejected,) = read_set(tmp_path, "imagefolder", ())
    assert rejected["reason"].startswith("has 2 pictures")
    assert said(tmp_path, several_images="first")[0] == [("1.png", "alike", "")]
    write_lines(tmp_path / "images" / "metadata.jsonl", [{"frame_file_names": ["2.png"], "text": "one"}])
    assert said(tmp_path)[0] == [("2.png", "one", "")]


def test_questions_ids_and_further_columns(tmp_path):
    folder(tmp_path, "1.png")
    row = {"file_name": "1.png", "id": 7, "question": "What?", "answers": ["a cat", "cat", "cat"], "objects": {"x": 1}}
    write_lines(tmp_path / "images" / "metadata.jsonl", [row])
    (found,), _ = read_set(tmp_path, "imagefolder", ())
    assert (found.record.id, found.record.task) == ("7", "vqa")
    assert found.record.turns == (Turn("What?", "cat", (("a cat", 1.0), ("cat", 2.0))),)


def test_folders_of_classes(tmp_path):
    folder(tmp_path, "Train/golden_retriever/1.png", "Train/cat/2.png", "test/cat/deep/3.png", "test/4.png")
    (tmp_path / "images" / "README.md").write_text("# pets")
    (tmp_path / "images" / "Train" / "cat" / "notes.txt").write_text("hm")
    found, rejected = said(tmp_path)
    assert found == [
        ("Train/cat/2.png", "cat", "train"),
        ("Train/golden_retriever/1.png", "golden retriever", "train"),
        ("test/cat/deep/3.png", "deep", "test"),
    ]
    assert rejected == [{"id": "test/4.png", "reason": "lies in no folder of a class, and no metadata.jsonl names it"}]
    (first, *_), _ = read_set(tmp_path, "imagefolder", ())
    assert first.record.turns[0].question == "What is shown in the image?"
    (first, *_), _ = read_set(tmp_path, "imagefolder", (), task="caption")
    assert first.record.turns[0] == Turn("", "cat")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"file_name": "2.png", "text": "a"}, "'2.png' is not in the folder images"),
        ({"file_name": "../own.json", "text": "a"}, "lies outside of the folder"),
        ({"file_name": None, "text": "a"}, "names no picture: `file_name` is empty"),
        ({"file_name": "1.png", "text": None}, "`text` is empty"),
        ({"file_name": "1.png", "label": 3, "text": ""}, "`text` is empty"),
        ({"file_name": 1, "text": "a"}, "must be the name of a file, not a number"),
    ],
)
def test_rows_that_are_left_out(tmp_path, row, words):
    folder(tmp_path, "1.png")
    write_lines(tmp_path / "images" / "metadata.jsonl", [row])
    found, (rejected,) = read_set(tmp_path, "imagefolder", ())
    assert found == []
    assert words in rejected["reason"]


def test_faults_of_the_whole_set(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("hm")
    with pytest.raises(DataError, match="has no pictures; correct its `images`"):
        read_set(tmp_path, "imagefolder", ())
    folder(tmp_path, "1.png")
    with pytest.raises(DataError, match="name the folder in `images`, and no `files`"):
        read_set(tmp_path, "imagefolder", ("images/notes.txt",))
    (tmp_path / "images" / "metadata.csv").write_text("name,words\n1.png,a cat\n")
    with pytest.raises(DataError, match=r"metadata\.csv has no column of pictures by a usual name"):
        read_set(tmp_path, "imagefolder", ())
    (tmp_path / "images" / "metadata.csv").unlink()
    (tmp_path / "images" / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"metadata\.parquet is damaged or no parquet"):
        read_set(tmp_path, "imagefolder", ())


def test_metadata_that_changed_since_they_were_seen_are_refused(tmp_path):
    folder(tmp_path, "1.png")
    path = tmp_path / "images" / "metadata.jsonl"
    path.write_text(json.dumps({"file_name": "1.png", "text": "a cat"}))
    settings = DataSet(format="imagefolder", images="images", licence="MIT")
    files = [RawFile(name, one.stat().st_size, sha256_file(one)) for name, one in raw_files(settings, tmp_path)]
    write_manifest(tmp_path / "manifest", files)
    path.write_text(json.dumps({"file_name": "1.png", "text": "a dog"}))
    with pytest.raises(DataError, match=r"metadata\.jsonl was changed since `download`"):
        list(read(open_source("pets", settings, tmp_path, tmp_path / "manifest")))

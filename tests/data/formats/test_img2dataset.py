"""img2dataset's output in its three layouts: what was not downloaded is told with its reason, borders are told once."""

from __future__ import annotations

import json

import pytest

from tests.data.formats import official
from tests.data.formats.embedded import picture, write_parquet, write_tar
from tests.data.formats.official import read_set
from tinygptv.data.manifest import write_manifest
from tinygptv.data.recognise import recognise
from tinygptv.ground.errors import DataError

PICTURES = {"000000000": picture(1, "JPEG"), "000000002": picture(2, "JPEG")}
FAILED = {"id": "000000001", "reason": "its picture was not downloaded: failed_to_download (HTTP Error 404: Not Found)"}


def metadata(key, **changed):
    failed = key not in PICTURES
    return {
        "url": f"https://host/{key}",
        "caption": f"cat {int(key)}",
        "key": key,
        "status": "failed_to_download" if failed else "success",
        "error_message": "HTTP Error 404: Not Found" if failed else None,
        "width": None if failed else 256,
        "height": None if failed else 256,
        "original_width": None if failed else 512,
        "original_height": None if failed else 512,
        "exif": "{}",
        **changed,
    }


def files_of(key, **changed):
    """What img2dataset writes of a picture; of one that failed nothing."""
    if key not in PICTURES:
        return {}
    about = metadata(key, **changed)
    told = json.dumps(about, indent=4)
    return {f"{key}.jpg": PICTURES[key], f"{key}.txt": about["caption"], f"{key}.json": told}


KEYS = ("000000000", "000000001", "000000002")


@pytest.fixture
def out(tmp_path):
    """``out(layout, **changed)``: the output in a layout."""

    def make(layout, **changed):
        folder = tmp_path / "out"
        rows = [metadata(key, **changed) for key in KEYS]
        if layout == "parquet":
            rows = [{**row, "jpg": PICTURES.get(row["key"])} for row in rows]
        write_parquet(folder / "00000.parquet", rows)
        (folder / "00000_stats.json").write_text(json.dumps({"count": 3, "successes": 2}))
        members = {name: content for key in KEYS for name, content in files_of(key, **changed).items()}
        if layout == "tar":
            write_tar(folder / "00000.tar", members)
        if layout == "files":
            for name, content in members.items():
                path = folder / "00000" / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return make


@pytest.fixture
def read(tmp_path, out):
    def make(layout, **changed):
        out(layout, **changed)
        where = {"files": (), "images": "out"} if layout == "files" else {"files": ("out",), "images": ""}
        return read_set(tmp_path, "img2dataset", **where)

    return make


LAYOUTS = pytest.mark.parametrize("layout", ["files", "tar", "parquet"])


@LAYOUTS
def test_captions_with_their_pictures_and_what_failed_with_its_reason(read, layout):
    found, rejected = read(layout)
    assert [(item.record.id, item.record.task, item.record.turns[0].answer) for item in found] == [
        ("000000000", "caption", "cat 0"),
        ("000000002", "caption", "cat 2"),
    ]
    pictures = [item.image if isinstance(item.image, bytes) else item.image.read() for item in found]
    assert pictures == list(PICTURES.values())
    assert rejected == [FAILED]


@LAYOUTS
def test_borders_are_told_once(read, layout, capsys):
    read(layout, original_width=640, original_height=480)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "asked: 000000000 was 640 x 480 and is 256 x 256: img2dataset resized with borders or cut" in said
    assert "--resize_mode keep_ratio" in said


@pytest.mark.parametrize("size", [(512, 512), (256, 256), (None, None), (1025, 1024)])
def test_pictures_of_the_same_shape_are_not_told(read, size, capsys):
    read("tar", original_width=size[0], original_height=size[1])
    assert capsys.readouterr().err == ""


def test_a_side_that_no_picture_has_is_not_looked_at(tmp_path, out, capsys):
    sizes = {"original_width": 10**400, "original_height": 1}
    members = {name: content for key in KEYS for name, content in files_of(key, **sizes).items()}
    write_tar(out("tar") / "00000.tar", members)
    found, _ = read_set(tmp_path, "img2dataset", ("out",), images="")
    assert (len(found), capsys.readouterr().err) == (2, "")


def test_a_picture_that_was_downloaded_and_is_gone(tmp_path, out):
    folder = out("files")
    (folder / "00000" / "000000002.jpg").unlink()
    (folder / "00000" / "000000002.json").unlink()
    (folder / "00000" / "000000002.txt").unlink()
    found, rejected = read_set(tmp_path, "img2dataset", (), images="out")
    assert len(found) == 1
    assert rejected == [FAILED, {"id": "000000002", "reason": "its picture was downloaded, but is not in 00000/"}]


@pytest.mark.parametrize("name", ["00000.parquet", "00000/000000000.txt"])
def test_what_was_changed_since_download_is_refused(tmp_path, out, monkeypatch, name):
    path = out("files") / name
    monkeypatch.setattr(official, "write_manifest", lambda file, seen: (write_manifest(file, seen), change(path)))
    with pytest.raises(DataError, match="was changed since `download`"):
        read_set(tmp_path, "img2dataset", (), images="out")


def change(path):
    path.write_bytes(path.read_bytes() + b"x")


def test_without_metadata_beside_the_json_says_what_failed(tmp_path):
    members = {**files_of("000000000"), "000000001.json": json.dumps(metadata("000000001"))}
    write_tar(tmp_path / "out" / "00000.tar", members)
    found, rejected = read_set(tmp_path, "img2dataset", ("out",), images="")
    assert (len(found), rejected) == (1, [FAILED])


def test_a_caption_that_is_missing(read):
    found, rejected = read("parquet", caption=None)
    assert found == []
    assert [one["reason"] for one in rejected][::2] == ["`caption` is empty: there is nothing to learn"] * 2


def test_what_holds_nothing_is_one_line(tmp_path, out):
    with pytest.raises(DataError, match="name their folder as `images`"):
        read_set(tmp_path, "img2dataset", ("out/00000_stats.json",), images=out("files") and "")
    with pytest.raises(
        DataError, match=r"00000\.parquet holds no pictures; name the folder where they are as `images`"
    ):
        read_set(tmp_path, "img2dataset", ("out",), images="")
    (tmp_path / "out" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"00000\.parquet is damaged"):
        read_set(tmp_path, "img2dataset", (), images="out")


@LAYOUTS
def test_it_is_recognised_and_not_as_another(out, layout):
    folder = out(layout)
    (form, found) = next(iter(recognise(folder).items()))
    assert form == "img2dataset"
    assert list(recognise(folder)) == ["img2dataset"]
    assert (found.files, found.images) == (((), folder) if layout == "files" else ((folder,), None))
    assert "`url`, `key` and `status`" in found.why

"""Files are whole or absent, and equal content is equal bytes."""

from __future__ import annotations

import pytest

from tinygptv import files
from tinygptv.errors import DataError


def listed(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_json_is_sorted_and_refuses_what_is_no_number(tmp_path):
    path = tmp_path / "below" / "x.json"
    files.write_json(path, {"b": [1, 2.5], "a": "ü"})
    assert path.read_text() == '{\n  "a": "ü",\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            files.write_json(path, value)
    assert files.read_json(path) == {"a": "ü", "b": [1, 2.5]}
    assert list(listed(tmp_path)) == ["below/x.json"]


def test_a_write_that_fails_before_its_end(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write_text(path, "former")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert listed(tmp_path) == {"x": b"former"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_json_that_is_none(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json is not valid JSON .*make it again"):
        files.read_json(path)


def test_json_that_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"x\.json is missing; run the step that makes it"):
        files.read_json(tmp_path / "x.json")


def make(folder, **content):
    folder.mkdir(parents=True)
    for name, text in content.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("former", [None, {"old": "1", "both": "1"}])
def test_a_folder_takes_the_place_of_a_former_one(tmp_path, former):
    final = tmp_path / "data" / "step"
    if former is not None:
        make(final, **former)
    files.replace_folder(make(tmp_path / "staged", both="2", new="2"), final)
    assert listed(tmp_path) == {"data/step/both": b"2", "data/step/new": b"2"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["step"]


def test_what_a_killed_replacement_left_is_no_obstacle(tmp_path):
    final = make(tmp_path / "data" / "step", old="1")
    make(tmp_path / "data" / ".step.former", older="0")
    files.replace_folder(make(tmp_path / "staged", new="2"), final)
    assert listed(tmp_path) == {"data/step/new": b"2"}


def test_a_tree_s_digest_is_of_names_and_contents(tmp_path):
    digest = files.sha256_tree(make(tmp_path / "a", x="1", y="2"))
    assert digest == files.sha256_tree(make(tmp_path / "b", y="2", x="1"))
    others = [{"x": "2", "y": "1"}, {"x": "1", "z": "2"}, {"x": "1"}, {"x": "12", "y": ""}]
    digests = {files.sha256_tree(make(tmp_path / f"c{n}", **other)) for n, other in enumerate(others)}
    assert digest not in digests
    assert len(digests) == len(others)

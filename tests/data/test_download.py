"""The data set's package: found, verified, copied the same each time."""

from __future__ import annotations

import json

import pytest

from tinygptv.data import sources
from tinygptv.ground.errors import DataError
from tinygptv.steps import download


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_download_of_the_whole_package(make_context, tmp_path):
    sha256 = sources.digest(sources.read_files(sources.find_package().data))
    context = make_context("download", sha256=sha256)
    download.run(context)
    source = json.loads((context.out / "source.json").read_bytes())
    assert source["sha256"] == sha256
    assert source["licence"] == "MIT"
    assert source["counts"] == {
        "train": {"images": 4000, "questions": 38575},
        "test": {"images": 1000, "questions": 9673},
    }
    assert sorted(contents(context.out)) == [
        "answers.json", "source.json", "test.json", "test.tar", "train.json", "train.tar",
    ]  # fmt: skip
    assert len(json.loads((context.out / "answers.json").read_bytes())) == 13
    assert context.run.values["train.images"] == 4000


def test_rebuild_is_byte_identical_whatever_the_order_of_files(small_files, tmp_path):
    package = sources.find_package()
    backwards = dict(reversed(small_files.items()))
    sources.write_download(tmp_path / "one", package, small_files, sources.digest(small_files))
    sources.write_download(tmp_path / "two", package, backwards, sources.digest(backwards))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_digest_mismatch_names_both_and_writes_nothing(make_context):
    context = make_context("download", sha256="f" * 64)
    with pytest.raises(DataError) as caught:
        download.run(context)
    message = str(caught.value)
    assert "f" * 64 in message
    assert sources.digest(sources.read_files(sources.find_package().data)) in message
    assert "\n" not in message
    assert not list(context.out.iterdir())


@pytest.mark.parametrize("change", ["name", "content", "missing"])
def test_digest_sees_every_change(small_files, change):
    files = dict(small_files)
    first = files.pop("test/images/0.png")
    if change != "missing":
        files["test/images/00.png" if change == "name" else "test/images/0.png"] = first + b"!" * (change == "content")
    assert sources.digest(files) != sources.digest(small_files)


def test_desktop_litter_does_not_count(tmp_path):
    (tmp_path / "answers.txt").write_text("yes")
    before = sources.digest(sources.read_files(tmp_path))
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "README.md").write_text("x")
    assert sources.digest(sources.read_files(tmp_path)) == before


def test_package_missing_names_the_command(monkeypatch):
    monkeypatch.setattr(sources, "MODULE", "easy_vqa_that_is_not_installed")
    with pytest.raises(DataError, match=r"pip install easy-vqa==1\.0"):
        sources.find_package()


def test_package_is_not_imported():
    import sys

    sys.modules.pop("easy_vqa", None)
    sources.find_package()
    assert "easy_vqa" not in sys.modules


@pytest.mark.parametrize("name", ["train/questions.json", "answers.txt"])
def test_incomplete_package_names_the_file(small_files, tmp_path, name):
    files = {key: value for key, value in small_files.items() if key != name}
    with pytest.raises(DataError, match=f"{name} is missing"):
        sources.write_download(tmp_path, sources.find_package(), files, "0" * 64)

"""Where the raw files of a data set are, and that they are those that were seen."""

from __future__ import annotations

import os

import pytest

from tinygptv.config import DataSet
from tinygptv.data.formats import easy_vqa
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.source import open_source, raw_files
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file


@pytest.fixture
def root(tmp_path):
    for name in ("sets/cats.json", "sets/more/a.json", "sets/more/.b.json", "pictures/1.png", "pictures/x/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def cats(**keys):
    return DataSet(format="llava", licence="MIT", **keys)


def opened(root, settings):
    files = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(settings, root)]
    write_manifest(root / "manifest", files)
    return open_source("cats", settings, root, root / "manifest")


def names(root, settings):
    return [name for name, _ in raw_files(settings, root)]


def test_files_and_folders_of_them_and_pictures_are_raw(root):
    settings = cats(files=("sets/more", "sets/cats.json"), images="pictures/")
    assert names(root, settings) == ["pictures/1.png", "pictures/x/2.png", "sets/cats.json", "sets/more/a.json"]
    source = opened(root, settings)
    assert source.files == (root / "sets/more/a.json", root / "sets/cats.json")


def test_a_file_among_the_pictures_is_one(root):
    assert names(root, cats(files=("pictures/1.png",), images="pictures")) == ["pictures/1.png", "pictures/x/2.png"]


def test_absolute_places(root, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    (away / "3.png").write_text("3")
    source = opened(root, cats(files=("sets/cats.json",), images=str(away)))
    assert source.image("3.png").path == away / "3.png"


def test_a_worktree_finds_what_is_not_in_git_in_the_main_checkout(root):
    worktree = root / ".state" / "worktrees" / "cats"
    (worktree / "sets").mkdir(parents=True)
    (worktree / "sets" / "cats.json").write_text("committed")
    source = opened(worktree, cats(files=("sets/cats.json",), images="pictures"))
    assert source.files == (worktree / "sets/cats.json",)
    assert source.image("1.png").path == root / "pictures" / "1.png"


def test_a_picture_is_found_by_its_name(root):
    source = opened(root, cats(files=("sets/cats.json",), images="pictures"))
    image = source.image("x/2.png")
    assert (image.read(), image.sha256) == (b"pictures/x/2.png", sha256_file(root / "pictures/x/2.png"))
    for name in ("2.png", "", "x", "x/", "../sets/cats.json", "sets/cats.json"):
        assert source.image(name) is None, name
    assert list(source.names("x/")) == ["x/2.png"]


def test_links_to_folders_are_followed_and_circles_end(root):
    (root / "pictures" / "linked").symlink_to(root / "sets")
    (root / "pictures" / "x" / "up").symlink_to(root / "pictures")
    assert names(root, cats(images="pictures")) == [
        "pictures/1.png", "pictures/linked/cats.json", "pictures/linked/more/a.json", "pictures/x/2.png",
    ]  # fmt: skip


def test_a_file_that_changed_since_it_was_seen_is_refused(root):
    settings = cats(files=("sets/cats.json",), images="pictures")
    opened(root, settings)
    (root / "sets/cats.json").write_text("other")
    with pytest.raises(DataError, match=r"sets/cats\.json was changed since `download`"):
        open_source("cats", settings, root, root / "manifest")


@pytest.mark.parametrize(
    ("key", "value"), [("files", ("sets/dogs.json",)), ("images", "nowhere"), ("images", "sets/cats.json")]
)
def test_what_is_not_there_is_named(root, key, value):
    with pytest.raises(DataError, match=f"correct `{key}`"):
        names(root, cats(**{key: value}))


def test_a_package_is_found_without_its_code(monkeypatch):
    import sys

    sys.modules.pop("easy_vqa", None)
    assert easy_vqa.folder().is_dir()
    assert "easy_vqa" not in sys.modules
    monkeypatch.setattr(easy_vqa, "MODULE", "easy_vqa_that_is_not_installed")
    with pytest.raises(DataError, match=r"pip install --force-reinstall easy-vqa==1\.0"):
        easy_vqa.folder()


def test_names_that_are_no_unicode_do_no_harm(root):
    (root / "pictures" / os.fsdecode(b"\xff.png")).touch()
    assert opened(root, cats(images="pictures")).image("1.png") is not None

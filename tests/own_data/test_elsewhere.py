"""Data that lie elsewhere: looked at, written into a profile and read as files of this machine are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.own_data.conftest import write_llava
from tinygptv.config import DataSet
from tinygptv.config.profiles import read_config
from tinygptv.data.manifest import RawManifest
from tinygptv.data.source import form, open_source
from tinygptv.ground.digests import DigestMemory
from tinygptv.ground.errors import DataError, UserError
from tinygptv.own_data import asked
from tinygptv.own_data.new import new
from tinygptv.steps.download import look


def add_remote(root: Path, store: Path) -> None:
    (root / ".dvc").mkdir(exist_ok=True)
    (root / ".dvc" / "config").write_text(f"['remote \"store\"']\n    url = {store}\n")


def test_a_profile_names_the_addresses(with_tiny, tmp_path):
    write_llava(tmp_path / "far away", 40)
    add_remote(with_tiny, tmp_path / "far away")
    said: list[str] = []
    new(with_tiny, "cats", "remote://store/cats.json", images="remote://store/my pictures/", say=said.append)
    mine = read_config(with_tiny / "configs" / "cats.yaml").data["cats"]
    assert (mine.files, mine.images) == (("remote://store/cats.json",), "remote://store/my pictures")
    assert said[0].startswith("remote://store/cats.json: llava, for ")
    assert said[1].startswith("40 records")
    found = asked.find(with_tiny, "remote://store/cats.json", "remote://store/my pictures", None)
    assert dict(found.sets)["cats"].files == mine.files


def test_without_images_the_folder_of_the_file_is_fetched(with_tiny, tmp_path):
    write_llava(tmp_path / "far", 40)
    (tmp_path / "far" / "my pictures").rename(tmp_path / "far" / "pictures")
    add_remote(with_tiny, tmp_path)
    said: list[str] = []
    new(with_tiny, "cats", "remote://store/far", say=said.append)
    mine = read_config(with_tiny / "configs" / "cats.yaml").data["cats"]
    assert (mine.files, mine.images) == (("remote://store/far/cats.json",), "remote://store/far/pictures")


def test_the_manifest_has_their_names_and_digests_and_forms_read_them(with_tiny, tmp_path):
    write_llava(tmp_path / "far", 3)
    add_remote(with_tiny, tmp_path / "far")
    keys = {"format": "llava", "licence": "MIT"}
    far = DataSet(files=("remote://store/cats.json",), images="remote://store/my pictures", **keys)
    near = DataSet(files=(str(tmp_path / "far/cats.json"),), images=str(tmp_path / "far/my pictures"), **keys)
    read = []
    for number, settings in enumerate((far, near)):
        manifest = tmp_path / str(number)
        with DigestMemory.opened() as memory:
            look(manifest, "cats", settings, with_tiny, memory)
        names = {file.name: file.sha256 for file in RawManifest(manifest)}
        items = list(form(settings).read(open_source("cats", settings, with_tiny, manifest)))
        read.append([(item.record, item.image.sha256, item.image.read()) for item in items])
    assert read[0] == read[1] and len(read[0]) == 3
    assert next(iter(RawManifest(tmp_path / "0"))).name == "remote://store/cats.json"
    assert set(names.values()) == {file.sha256 for file in RawManifest(tmp_path / "0")}


def test_what_describes_a_file_is_fetched_with_it(with_tiny, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "talks.json").write_text('[{"messages": [], "images": []}]')
    add_remote(with_tiny, tmp_path / "far")
    settings = DataSet(format="messages", files=("remote://store/talks.json",), licence="MIT")

    def names() -> list[str]:
        with DigestMemory.opened() as memory:
            look(tmp_path / "manifest", "talks", settings, with_tiny, memory)
        return [file.name for file in RawManifest(tmp_path / "manifest")]

    (tmp_path / "far" / "dataset_info.json").write_text("{}")
    assert names() == ["remote://store/dataset_info.json", "remote://store/talks.json"]
    (tmp_path / "far" / "dataset_info.json").unlink()
    assert names() == ["remote://store/talks.json"]


def test_what_was_fetched_and_removed_is_asked_for_by_its_address(with_tiny, tmp_path):
    settings = DataSet(format="llava", files=("remote://store/cats.json",), licence="MIT")
    (tmp_path / "manifest").touch()
    with pytest.raises(
        DataError, match=r"remote://store/cats\.json \(fetched to .*\) is missing; .*`dvc repro download`"
    ):
        open_source("cats", settings, with_tiny, tmp_path / "manifest")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("remote://store/none.json", "nothing is there"),
        ("remote://atlas/x", "`dvc remote add atlas URL`"),
        ("https://example.org/x", "s3://BUCKET/PATH"),
        ("hf://datasets/me/cats@main/x", "pin the 40 digits"),
    ],
)
def test_what_cannot_be_fetched_leaves_no_profile(with_tiny, tmp_path, data, words):
    add_remote(with_tiny, tmp_path)
    for call in (lambda: new(with_tiny, "cats", data), lambda: asked.find(with_tiny, data, None, None)):
        with pytest.raises(UserError) as caught:
            call()
        assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (with_tiny / "configs" / "cats.yaml").exists()

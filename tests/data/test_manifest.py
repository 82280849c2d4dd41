"""The manifest: searched on disk, whatever the names."""

from __future__ import annotations

import hashlib
import random
import string

import pytest

from tinygptv.config import DataSet
from tinygptv.data.manifest import RawFile, RawManifest, write_manifest
from tinygptv.data.source import raw_files
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file


def listed(names):
    return [RawFile(name, number, f"{number:064x}") for number, name in enumerate(sorted(names))]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 1000])
def test_every_name_is_found_and_no_other(tmp_path, count):
    draw = random.Random(count)
    names = {"".join(draw.choices(string.ascii_letters + '/ .ä猫"\\\n', k=draw.randint(1, 30))) for _ in range(count)}
    files = listed(names)
    write_manifest(tmp_path / "m", files)
    manifest = RawManifest(tmp_path / "m")
    assert list(manifest) == files
    assert [manifest.find(file.name) for file in files] == files
    for name in ("", "\U0010ffff", *(f"{name}!" for name in sorted(names)[:50])):
        assert manifest.find(name) is None


def test_names_longer_than_what_is_read_at_once(tmp_path):
    files = listed([letter * 9000 for letter in "abc"])
    write_manifest(tmp_path / "m", files)
    assert [RawManifest(tmp_path / "m").find(file.name) for file in files] == files


def test_below_a_folder(tmp_path):
    write_manifest(tmp_path / "m", listed(["a", "b/1", "b/2", "b/c/3", "b0", "c"]))
    assert [file.name for file in RawManifest(tmp_path / "m").below("b/")] == ["b/1", "b/2", "b/c/3"]
    assert list(RawManifest(tmp_path / "m").below("d")) == []


def test_one_digest_tells_names_and_contents_and_the_order_of_names_is_that_of_the_walk(tmp_path):
    tree = tmp_path / "tree"
    for name in ("a.b/1", "a/1", "a-1", "ab", "B", "ä"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    settings = DataSet(format="llava", images="tree", licence="MIT")
    files = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(settings, tmp_path)]
    assert files == sorted(files, key=lambda file: file.name)
    told = "".join(f"{file.name}\0{file.sha256}\n" for file in files)
    assert write_manifest(tmp_path / "m", files) == hashlib.sha256(told.encode()).hexdigest()


def test_a_missing_or_damaged_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match="dvc repro download"):
        RawManifest(tmp_path / "m")
    (tmp_path / "m").write_text('{"name": "a"}\n')
    with pytest.raises(DataError, match="damaged"):
        RawManifest(tmp_path / "m").find("a")

"""Our own shards as a data set: what was written is found, of this version and of the released one."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import pytest

from tinygptv.config import DataSet
from tinygptv.data.formats.records import read
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.records import ImageRecord, ImageSample, Record, Turn, text_key
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.source import open_source, raw_files
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file


def found_in(root, *files):
    settings = DataSet(format="records", files=files, licence="MIT")
    seen = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(settings, root)]
    write_manifest(root / "manifest", seen)
    return list(read(open_source("again", settings, root, root / "manifest")))


def test_what_write_shards_wrote_is_found(small_shards, tmp_path):
    found = found_in(tmp_path, str(small_shards))
    there = list(read_samples(sorted(small_shards.glob("*.tar"))))
    assert [item.record for item in found] == [record for sample in there for record in sample.record.records]
    images = [sample.image_bytes for sample in there for _ in sample.record.records]
    assert [item.image.read() for item in found] == images
    assert {item.split for item in found} == {"train", "val", "test"}


def test_a_record_without_an_image_and_a_tar_of_another_name(tmp_path):
    record = Record("a", "conversation", (Turn("Hi", "Ho", (("Ho", 2.0), ("Hey", 1.0))),), dataset="mine")
    sample = ImageRecord(text_key("mine", "a"), None, "me", "CC0-1.0", (record,))
    write_shards(tmp_path / "mine", "part", [ImageSample(sample, None, b"")], images_per_shard=10)
    (found,) = found_in(tmp_path, "mine/part-000000.tar")
    assert (found.record, found.image, found.split) == (record, None, "")


@pytest.fixture
def released(small_shards, tmp_path):
    """A tar as the released version wrote it: no version, no data set, keys that name places."""
    sample = next(read_samples(sorted(small_shards.glob("train-*.tar"))))
    content = json.loads(sample.record.to_json())
    del content["version"], content["dataset"]
    content["image"]["file"] = "train-000000.png"
    with tarfile.open(tmp_path / "train-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (
            ("train-000000.json", json.dumps(content).encode()),
            ("train-000000.png", sample.image_bytes),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sample


def test_shards_of_the_released_version(released, tmp_path):
    found = found_in(tmp_path, "train-000000.tar")
    assert [replace(item.record, dataset="") for item in found] == [
        replace(record, dataset="") for record in released.record.records
    ]
    assert {item.image.read() for item in found} == {released.image_bytes}
    assert {item.split for item in found} == {"train"}


def test_a_damaged_tar_is_one_line(released, tmp_path):
    path = tmp_path / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"train-000000\.tar"):
        found_in(tmp_path, "train-000000.tar")


def test_a_folder_without_tars_is_told(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="data set again has no tars"):
        found_in(tmp_path, "mine")

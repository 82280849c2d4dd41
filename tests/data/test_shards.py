"""Shards: the same bytes each time, and damage of every kind named."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from tinygptv.data.index import RecordIndex
from tinygptv.data.records import ImageRecord, ImageSample, Record, Turn, text_key
from tinygptv.data.shards import read_records, read_samples, write_shards
from tinygptv.data.tar_index import tar_index
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.files import read_json, sha256_file, write_json


@pytest.fixture
def samples(small_shards):
    return list(read_samples([small_shards / "val-000000.tar"]))


@pytest.fixture
def shard(small_shards, tmp_path):
    """A private copy of an intact shard."""
    path = tmp_path / "shards" / "val-000000.tar"
    path.parent.mkdir()
    path.write_bytes((small_shards / path.name).read_bytes())
    return path


def build(path, members):
    """A tar of (name, content) or TarInfo, as somebody else could have made it."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def refused(path, *words):
    """All three readers refuse the shard with one line that names it."""
    messages = []
    for read in (lambda: tar_index(path), lambda: list(read_samples([path])), lambda: list(read_records([path]))):
        with pytest.raises(DataError) as caught:
            read()
        messages.append(str(caught.value))
    for message in messages:
        assert message.startswith(str(path))
        assert "\n" not in message
        for word in words:
            assert word in message


def test_names_sizes_and_round_trip(small_shards, samples, tmp_path):
    assert sorted(path.name for path in small_shards.iterdir()) == [
        "summary.json", "test-000000.tar", "test.arrow", "train-000000.tar", "train-000001.tar", "train.arrow",
        "val-000000.tar", "val.arrow",
    ]  # fmt: skip
    paths = write_shards(tmp_path, "x", samples, images_per_shard=3)
    assert [path.name for path in paths] == ["x-000000.tar", "x-000001.tar", "x-000002.tar"]
    again = list(read_samples(paths))
    assert [sample.record for sample in again] == [sample.record for sample in samples]
    assert [sample.image_bytes for sample in again] == [sample.image_bytes for sample in samples]
    assert list(read_records(paths)) == [sample.record for sample in samples]


def test_rebuild_is_byte_identical(small_shards, samples, tmp_path):
    (path,) = write_shards(tmp_path, "val", samples, images_per_shard=16)
    assert path.read_bytes() == (small_shards / "val-000000.tar").read_bytes()
    with tarfile.open(path) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.mode == 0o444


def test_a_failed_write_leaves_nothing(samples, tmp_path):
    def failing():
        yield samples[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_shards(tmp_path, "x", failing(), images_per_shard=4)
    assert not list(tmp_path.iterdir())


def test_index_points_at_the_data(shard):
    content = shard.read_bytes()
    with tarfile.open(shard) as tar:
        expected = {member.name: tar.extractfile(member).read() for member in tar}
    index = tar_index(shard)
    assert {name: content[offset : offset + size] for name, (offset, size) in index.items()} == expected


def test_webdataset_is_in_its_safe_mode(samples):
    import webdataset

    assert webdataset.utils.enforce_security


@pytest.mark.drill(14, "a shard cut, flipped or missing: never silent")
def test_missing_shard(tmp_path):
    refused(tmp_path / "train-000000.tar", "is missing")


@pytest.mark.drill(14, "a shard cut, flipped or missing: never silent")
@pytest.mark.parametrize("kept", [0, 300, 512, 900, 5000])
def test_truncated_tar(shard, kept):
    shard.write_bytes(shard.read_bytes()[:kept])
    refused(shard, "cut off")


@pytest.mark.drill(14, "a shard cut, flipped or missing: never silent")
@pytest.mark.parametrize("kept", [-900, -1, 0, 424, 1023])
def test_tar_cut_near_its_end(shard, kept):
    last, size = list(tar_index(shard).values())[-1]
    end = last + -(-size // 512) * 512  # where the empty blocks begin
    shard.write_bytes(shard.read_bytes()[: end + kept])
    refused(shard, "cut off")


@pytest.mark.drill(14, "a shard cut, flipped or missing: never silent")
def test_tar_cut_between_members(shard):
    content = shard.read_bytes()
    offset, size = list(tar_index(shard).values())[1]
    shard.write_bytes(content[: offset + -(-size // 512) * 512])
    refused(shard, "cut off")


@pytest.mark.drill(14, "a shard cut, flipped or missing: never silent")
def test_every_flipped_bit_is_found_by_the_digest(shard):
    content = shard.read_bytes()
    write_json(shard.parent / "summary.json", {"digests": {shard.name: sha256_file(shard)}})
    assert len(list(read_samples([shard]))) == 8
    for place in range(0, len(content), len(content) // 40):
        shard.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        refused(shard)


@pytest.mark.drill(14, "a shard cut, flipped or missing: never silent")
@pytest.mark.parametrize("part", ["header", "image"])
def test_flipped_bits_are_found_without_a_digest(shard, part):
    content = shard.read_bytes()
    index = tar_index(shard)
    name = list(index)[3]
    assert name.endswith(".png")
    place = index[name][0] - 500 if part == "header" else index[name][0] + index[name][1] // 2
    shard.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    with pytest.raises(DataError, match=str(list(index)[2] if part == "header" else name)):
        list(read_samples([shard]))


def test_digest_error_names_the_damaged_member(shard):
    write_json(shard.parent / "summary.json", {"digests": {shard.name: sha256_file(shard)}})
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b'"task":"vqa"', b'"task":"vqb"', 1))
    refused(shard, "train-000032", "unknown task 'vqb'")


def test_foreign_shard_beside_a_summary(shard):
    write_json(shard.parent / "summary.json", {"digests": {}})
    refused(shard, "does not list it")


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.drill(15, "hostile members, extended headers, compression, repeated and interleaved keys")
@pytest.mark.parametrize(
    "bad",
    [
        member("../a-1.json"), member("/a-1.json"), member("b/a-1.json"), member("a-1"), member("a-1.pyd"),
        member("a-1.pkl"), member("a-1.JSON"), member("a-1.json.gz"), member("__meta__.json"), member("a 1.json"),
        member("a-1.json", tarfile.SYMTYPE, "/etc/passwd"), member("a-1.json", tarfile.LNKTYPE, "b.json"),
        member("a-1.json", tarfile.CHRTYPE), member("a-1.json", tarfile.FIFOTYPE), member("a-1", tarfile.DIRTYPE),
    ],
    ids=lambda info: f"{info.name}:{info.type.decode()}",
)  # fmt: skip
def test_hostile_members(tmp_path, samples, bad):
    good = samples[0]
    members = [(f"{good.key}.json", good.record.to_json()), (f"{good.key}.png", good.image_bytes), bad]
    refused(build(tmp_path / "x.tar", members), repr(bad.name))


@pytest.mark.drill(15, "hostile members, extended headers, compression, repeated and interleaved keys")
def test_extended_headers_are_refused(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a-1.json")
        info.pax_headers = {"comment": "x" * 100_000}
        tar.addfile(info)
    refused(path, "plain (ustar) tar")


@pytest.mark.drill(15, "hostile members, extended headers, compression, repeated and interleaved keys")
def test_compressed_tar_is_refused(shard):
    import gzip

    shard.write_bytes(gzip.compress(shard.read_bytes()))
    refused(shard)


@pytest.mark.drill(15, "hostile members, extended headers, compression, repeated and interleaved keys")
def test_interleaved_and_repeated_members(tmp_path, samples):
    one, two = samples[:2]
    a, b = (f"{one.key}.json", one.record.to_json()), (f"{one.key}.png", one.image_bytes)
    c, d = (f"{two.key}.json", two.record.to_json()), (f"{two.key}.png", two.image_bytes)
    refused(build(tmp_path / "interleaved.tar", [a, c, b, d]), b[0], "apart")
    refused(build(tmp_path / "twice.tar", [a, b, b]), b[0], "twice")


@pytest.mark.parametrize("extensions", [("png",), ("json", "png", "jpg")])
def test_incomplete_samples(tmp_path, samples, extensions):
    path = build(tmp_path / "x.tar", [(f"{samples[0].key}.{extension}", b"{}") for extension in extensions])
    assert len(tar_index(path)) == len(extensions)
    for read in (read_samples, read_records):
        with pytest.raises(DataError, match="at most one image"):
            list(read([path]))


def test_a_key_comes_once_in_all_shards(small_shards, tmp_path):
    path = small_shards / "val-000000.tar"
    copy = tmp_path / "x.tar"
    copy.write_bytes(path.read_bytes())
    for read in (read_samples, read_records):
        with pytest.raises(DataError, match=r"sample \w{32} is also in val-000000\.tar"):
            list(read([path, copy]))


def test_bad_json_names_the_member(tmp_path, samples):
    good = samples[0]
    content = json.loads(good.record.to_json())
    content["records"][0]["turns"][0]["answer"] = ""
    members = [(f"{good.key}.json", json.dumps(content).encode()), (f"{good.key}.png", good.image_bytes)]
    path = build(tmp_path / "x.tar", members)
    for read in (read_samples, read_records):
        with pytest.raises(DataError, match=rf"x\.tar: {good.key}.*answer is empty"):
            list(read([path]))


def text_sample(number, dataset="easy_vqa"):
    record = Record(f"text-{number}", "conversation", (Turn("say {}", "so"),), (), dataset)
    return ImageSample(ImageRecord(text_key(dataset, record.id), None, "talk", "MIT", (record,)), None, b"")


def test_samples_without_an_image(samples, tmp_path):
    mixed = [samples[0], text_sample(1), samples[1], text_sample(2)]
    paths = write_shards(tmp_path, "train", mixed, images_per_shard=3)
    assert list(read_records(paths)) == [sample.record for sample in mixed]
    again = list(read_samples(paths))
    assert [sample.image is None for sample in again] == [False, True, False, True]
    assert [sample.image_bytes for sample in again] == [sample.image_bytes for sample in mixed]
    assert read_json(tmp_path / "summary.json")["splits"]["train"]["images"] == 2


@pytest.mark.parametrize(("of_image", "image"), [(True, False), (False, True)])
def test_an_image_that_the_json_does_not_say(tmp_path, samples, of_image, image):
    sample = samples[0] if of_image else text_sample(1)
    members = [(f"{sample.key}.json", sample.record.to_json())]
    members += [(f"{sample.key}.png", samples[0].image_bytes)] if image else []
    path = build(tmp_path / "x.tar", members)
    for read in (read_samples, read_records):
        with pytest.raises(DataError, match=r"image\.(file|sha256)"):
            list(read([path]))


def test_a_written_split_has_its_index(samples, tmp_path):
    write_shards(tmp_path, "train", [*samples, text_sample(1)], images_per_shard=3)
    index = RecordIndex(tmp_path / "train.arrow")
    records = [record for sample in (*samples, text_sample(1)) for record in sample.record.records]
    assert sorted(index.record(row)[0].id for row in range(len(index))) == sorted(record.id for record in records)
    assert [count for _, count in index.blocks.values()] == [3, 3, 3]
    assert read_json(tmp_path / "summary.json")["indexes"] == {"train": sha256_file(tmp_path / "train.arrow")}


def test_a_folder_is_of_one_data_set(samples, tmp_path):
    with pytest.raises(UserError, match="samples are of cats, easy_vqa"):
        write_shards(tmp_path, "train", [samples[0], text_sample(1, "cats")], images_per_shard=3)
    assert not list(tmp_path.iterdir())


def test_a_tar_is_what_webdataset_itself_writes(samples, tmp_path):
    import webdataset

    (path,) = write_shards(tmp_path, "train", samples, images_per_shard=16)
    with (
        (tmp_path / "theirs.tar").open("wb") as file,
        webdataset.TarWriter(file, user="", group="", mode=0o444, mtime=0, compress=False, encoder=False) as tar,
    ):
        for sample in samples:
            tar.write({"__key__": sample.key, "json": sample.record.to_json(), "png": sample.image_bytes})
    assert path.read_bytes() == (tmp_path / "theirs.tar").read_bytes()

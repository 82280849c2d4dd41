"""Tars of others: where members lie, which make a sample, and what a damaged one says."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from contextlib import closing

import pytest

from tests.data.formats.embedded import picture, write_tar
from tinygptv.data import own_tars
from tinygptv.data.own_tars import TarSamples, image_at, read_members, split_name, tar_files
from tinygptv.ground.errors import DataError

MEMBERS = {"a/1.jpg": picture(1), "b.txt": "B", "a/1.txt": "A" * 600, "x.y.2.JPG": b"2" * 513, "./b.png": picture(2)}
FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.mark.parametrize("form", FORMS)
def test_members_are_found_where_they_lie(tmp_path, form):
    long = {"long/" * 40 + f"{number}.txt": b"x" for number in range(2)} if form != tarfile.USTAR_FORMAT else {}
    path = write_tar(tmp_path / "a.tar", {**MEMBERS, **long, "ümläut.txt": "u"}, form)
    found = list(read_members(path))
    assert [member.name for member in found] == [*MEMBERS, *long, "ümläut.txt"]
    content = path.read_bytes()
    for member in found[: len(MEMBERS)]:
        expected = MEMBERS[member.name]
        expected = expected.encode() if isinstance(expected, str) else expected
        assert content[member.offset : member.offset + member.size] == expected
        with path.open("rb") as file:
            image = image_at(path, file, member)
        assert (image.read(), image.sha256) == (expected, hashlib.sha256(expected).hexdigest())


def test_samples_come_together_from_wherever_their_members_stand(tmp_path):
    path = write_tar(tmp_path / "a.tar", {**MEMBERS, ".hidden.jpg": b"", "a/._1.jpg": b"", "link.txt": None})
    with closing(TarSamples(path)) as samples:
        found = {key: {ending: len(listed) for ending, listed in members.items()} for key, members in samples}
        assert samples.endings("a/1") == {"jpg", "txt"}
        assert samples.endings("none") == set()
    assert found == {"a/1": {"jpg": 1, "txt": 1}, "b": {"txt": 1, "png": 1}, "x.y.2": {"jpg": 1}, "link": {"txt": 1}}
    assert list(found) == ["a/1", "b", "x.y.2", "link"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("a/b.c.JPG", ("a/b.c", "jpg")), ("a.b/c", ("a.b/c", "")), ("c.", ("c.", "")), ("1.seg.png", ("1.seg", "png"))],
)
def test_a_name_ends_at_its_last_dot(name, parts):
    assert split_name(name) == parts


def cut_within(content):
    return content[:1000]


def bad_header(content):
    place = content.index(b"b.txt")
    return content[:place] + b"\xff" * 200 + content[place + 200 :]


def other_file(content):
    return b"GIF89a" + bytes(2000)


@pytest.mark.parametrize("damage", [cut_within, bad_header, other_file, gzip.compress, lambda content: b""])
def test_a_damaged_tar_is_one_line(tmp_path, damage):
    path = write_tar(tmp_path / "a.tar", MEMBERS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"a\.tar is damaged, compressed or no tar \(.+\); get it again") as raised:
        list(read_members(path))
    assert "\n" not in str(raised.value)


def test_an_extended_header_of_any_size_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(own_tars, "LARGEST_HEADER", 100)
    path = write_tar(tmp_path / "a.tar", {"x" * 300 + ".txt": b""}, tarfile.GNU_FORMAT)
    with pytest.raises(DataError, match="a header of"):
        list(read_members(path))


@pytest.mark.parametrize("size", ["-512", "-2048"])
def test_a_member_of_less_than_nothing_is_refused(tmp_path, size):
    info = tarfile.TarInfo("a.txt")
    info.pax_headers = {"size": size}
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(10240))
    with pytest.raises(DataError, match=r"the header of 'a\.txt' leads back"):
        list(read_members(tmp_path / "a.tar"))


def test_a_picture_whose_tar_became_shorter_is_told(tmp_path):
    path = write_tar(tmp_path / "a.tar", MEMBERS)
    member = next(read_members(path))
    with pytest.raises(DataError, match="is cut off"):
        image_at(path, io.BytesIO(path.read_bytes()[: member.offset + 5]), member)


def test_which_files_are_tars(tmp_path):
    names = tuple(tmp_path / name for name in ("a.tar", "b.TAR", "c.txt"))
    assert tar_files(names, "cats") == list(names[:2])
    with pytest.raises(DataError, match=r"data set cats has no \.tar file"):
        tar_files(names[2:], "cats")
    with pytest.raises(DataError, match=r"d\.tar\.gz is compressed; unpack it"):
        tar_files((tmp_path / "d.tar.gz",), "cats")

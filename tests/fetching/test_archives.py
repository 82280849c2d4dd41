"""Archives of others: what is asked for lies in its place, and what may not be is refused with its name."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile

import pytest

from tinygptv.fetching import archives
from tinygptv.fetching.archives import unpack, unpacked_size
from tinygptv.ground.errors import DataError, NoSpaceError

GOOD = {"set/a.jpg": b"one", "set/b/c.jpg": b"two", "set/": b"", "read me": b"not asked for"}


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def tarred(path, members):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if str(name).endswith("/"):
                member.type = tarfile.DIRTYPE
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(params=["a.zip", "a.tar", "a.tar.gz"])
def pack(request, tmp_path):
    """Makes an archive of members, of each kind."""
    make = zipped if request.param.endswith(".zip") else tarred
    return lambda members: make(tmp_path / request.param, [*members])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "raw" / "set"


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive, out, *words):
    """The refusal is one line, and nothing is left of the archive, inside or outside."""
    canary = out.parent.parent / "canary"
    canary.write_text("untouched")
    with pytest.raises(DataError) as caught:
        unpack(archive, {"set/": out})
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(archive), *words):
        assert word in message, (word, message)
    assert canary.read_text() == "untouched"
    assert {path.name for path in out.parent.parent.rglob("*")} <= {archive.name, "canary", "raw"}


def test_a_folder_of_an_archive(pack, out):
    assert unpack(pack(GOOD.items()), {"set/": out}) == 2
    assert files_of(out) == {"a.jpg": b"one", "b/c.jpg": b"two"}
    assert [path.name for path in out.parent.iterdir()] == ["set"]


def test_members_go_where_each_belongs_and_what_is_there_stays(pack, out):
    (out / "b").mkdir(parents=True)
    (out / "own.jpg").write_bytes(b"mine")
    (out / "a.jpg").write_bytes(b"old")
    archive = pack([*GOOD.items(), ("deep/val.json", b"{}"), ("__MACOSX/deep/val.json", b"?")])
    assert unpack(archive, {"set/": out, "val.json": out.parent / "v.json"}) == 3
    assert files_of(out) == {"a.jpg": b"one", "b/c.jpg": b"two", "own.jpg": b"mine"}
    assert (out.parent / "v.json").read_bytes() == b"{}"


def test_what_a_killed_run_left_is_begun_anew(pack, out):
    beside = out.with_name(f".{out.name}.unpacking")
    beside.mkdir(parents=True)
    (beside / "half.jpg").write_bytes(b"half")
    unpack(pack(GOOD.items()), {"set/": out})
    assert files_of(out.parent).keys() == {"set/a.jpg", "set/b/c.jpg"}


def test_bytes_that_it_will_take(pack):
    archive = pack(GOOD.items())
    expected = {".zip": len(b"one" + b"two"), ".tar": archive.stat().st_size, ".gz": None}
    assert unpacked_size(archive, {"set/": ""}) == expected[archive.suffix]


HOSTILE = {
    "../up.jpg": "leads out",
    "set/../../up.jpg": "leads out",
    "/etc/cron.d/x": "no relative path",
    "C:/x.jpg": "no relative path",
    "set\\..\\x.jpg": "no relative path",
    "set/a\x1b[2J.jpg": "control characters",
    "set/\u202egpj.exe": "control characters",
    f"set/{'x' * 201}.jpg": "too long",
    "set/A.JPG": "there twice",
    "set/a.jpg/inner.jpg": "another one has its name",
}


@pytest.mark.drill(15, "published archives with members that lead out, collide or cannot be named")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_may_not_be(pack, out, name):
    refused(pack([("set/a.jpg", b"one"), (name, b"evil")]), out, repr(name)[1:-1][:20], HOSTILE[name])


@pytest.mark.drill(15, "published archives with links and devices")
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_member_of_a_tar_that_is_no_file(tmp_path, out, kind):
    member = tarfile.TarInfo("set/link.jpg")
    member.type, member.linkname = kind, "/etc/passwd"
    refused(tarred(tmp_path / "a.tar.gz", [("set/a.jpg", b"one"), (member, b"")]), out, "link.jpg", "link or a device")


def test_a_link_in_a_zip(tmp_path, out):
    link = zipfile.ZipInfo("set/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(zipped(tmp_path / "a.zip", [(link, "/etc/passwd")]), out, "link.jpg", "link or a device")


@pytest.mark.drill(15, "archives that grow without end")
def test_a_bomb(pack, out, monkeypatch):
    monkeypatch.setattr(archives, "GROWTH_FREE", 1 << 20)
    archive = pack([("set/a.jpg", b"one"), ("set/bomb.jpg", bytes(8 << 20))])
    if archive.suffix != ".tar":
        refused(archive, out, "bomb.jpg", "grows beyond 100 times")


@pytest.mark.drill(15, "a zip with a million members: its list is not read")
def test_a_list_of_members_that_is_too_long(tmp_path, out):
    archive = zipped(tmp_path / "a.zip", GOOD.items())
    content = bytearray(archive.read_bytes())
    struct.pack_into("<L", content, content.rfind(b"PK\x05\x06") + 12, 1 << 30)
    archive.write_bytes(content)
    refused(archive, out, "its list has")


def test_more_members_than_may_be(pack, out, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    archive = pack(GOOD.items())
    refused(archive, out, "its list has 4" if archive.suffix == ".zip" else "more than 3")


def test_a_damaged_member(tmp_path, out):
    archive = zipped(tmp_path / "a.zip", [("set/a.jpg", bytes(range(256)) * 9)])
    content = bytearray(archive.read_bytes())
    content[60] ^= 0xFF
    archive.write_bytes(content)
    refused(archive, out, "set/a.jpg")


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_half_an_archive(pack, out, keep):
    archive = pack([*GOOD.items(), ("set/more.jpg", bytes(range(256)) * 99)])
    size = archive.stat().st_size
    archive.write_bytes(archive.read_bytes()[: int(size * keep) if keep < 1 else keep])
    refused(archive, out)


def test_another_archive(pack, out):
    refused(pack([("else/a.jpg", b"one")]), out, "has no set/")


def test_a_second_file_of_the_name_that_is_asked_for(pack, out):
    archive = pack([("a/val.json", b"1"), ("b/val.json", b"2")])
    with pytest.raises(DataError, match="a second val"):
        unpack(archive, {"val.json": out})
    assert not out.exists()


def test_no_room(pack, out, monkeypatch):
    from tinygptv.ground import files

    monkeypatch.setattr(files, "free_bytes", lambda folder: 1)
    with pytest.raises(NoSpaceError):
        unpack(pack(GOOD.items()), {"set/": out})
    assert not out.exists()

"""Files are whole or absent, and equal content is equal bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.limits import without_override
from tinygptv.ground import files
from tinygptv.ground.errors import DataError, NoSpaceError, from_write_error


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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
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


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("name", [".step.former", ".step.aside"])
def test_what_a_killed_replacement_left_is_no_obstacle(tmp_path, monkeypatch, name, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, two: False)
    final = make(tmp_path / "data" / "step", old="1")
    make(tmp_path / "data" / name, older="0").chmod(0o555)
    files.replace_folder(make(tmp_path / "staged", new="2"), final)
    left = {} if not exchange or name == ".step.former" else {"data/.step.aside/older": b"0"}  # not looked at
    assert listed(tmp_path) == {"data/step/new": b"2"} | left


def test_the_exchange_of_two_names_that_the_system_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="two"):
        files._exchange(make(tmp_path / "one", a="1"), tmp_path / "two")
    make(tmp_path / "two", b="2")
    assert files._exchange(tmp_path / "one", tmp_path / "two")
    assert listed(tmp_path) == {"one/b": b"2", "two/a": b"1"}


def test_a_system_without_the_exchange(tmp_path, monkeypatch):
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *arguments, **how: object())
    final = make(tmp_path / "data" / "step", old="1")
    files.replace_folder(make(tmp_path / "staged", new="2"), final)
    assert listed(tmp_path) == {"data/step/new": b"2"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["step"]


def test_what_a_killed_write_left_goes_with_the_next(tmp_path):
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (tmp_path / f".x.{ended.pid}.tmp").write_text("half")
    (tmp_path / f".x.{os.getppid()}.tmp").write_text("of a process that lives")
    (tmp_path / f".xy.{ended.pid}.tmp").write_text("of another file")
    files.write_text(tmp_path / "x", "new")
    names = {f".x.{os.getppid()}.tmp", f".xy.{ended.pid}.tmp", "x"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_full_disk_is_named_with_what_is_needed(tmp_path, monkeypatch):
    hidden = ValueError("Error while serializing: I/O error: No space left on device (os error 28)")
    for error in (OSError(28, "No space left on device"), OSError(122, "Disk quota exceeded"), hidden):
        with pytest.raises(NoSpaceError) as caught, files.needing(tmp_path / "x", 5000):
            raise error
        assert (caught.value.errno, caught.value.filename, caught.value.needed) == (28, str(tmp_path / "x"), 5000)
        line = str(from_write_error(caught.value, "writing"))
        assert line.startswith(f"writing: no space left on the disk of {tmp_path / 'x'}: 5,000 bytes are needed, ")
        assert line.endswith(" are free; free some and run the command again")
    unknown = str(from_write_error(NoSpaceError(tmp_path), "writing"))
    assert unknown.startswith(f"writing: no space left on the disk of {tmp_path}: its ")
    assert unknown.endswith(" free bytes are too few; free some and run the command again")
    with pytest.raises(PermissionError), files.needing(tmp_path / "x", 5000):
        raise PermissionError(13, "no")
    with pytest.raises(NoSpaceError, match="No space") as caught, files.needing(tmp_path, 1):
        raise NoSpaceError(tmp_path / "inner", 2)
    assert caught.value.needed == 2


def test_room_that_is_required(tmp_path):
    files.require_room(tmp_path / "not" / "there", 1)
    with pytest.raises(NoSpaceError) as caught:
        files.require_room(tmp_path / "not" / "there", 1 << 60)
    assert (caught.value.filename, caught.value.needed) == (str(tmp_path / "not" / "there"), 1 << 60)


def test_folders_above_are_flushed_once(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files, "sync_folder", lambda folder: flushed.append(folder))
    (tmp_path / "a" / "b").mkdir(parents=True)
    files.sync_path(tmp_path / "a" / "b")
    assert flushed[:3] == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
    flushed.clear()
    files.sync_path(tmp_path / "a" / "b")
    assert flushed == [tmp_path / "a" / "b"]


def test_a_tree_s_digest_is_of_names_and_contents(tmp_path):
    digest = files.sha256_tree(make(tmp_path / "a", x="1", y="2"))
    assert digest == files.sha256_tree(make(tmp_path / "b", y="2", x="1"))
    others = [{"x": "2", "y": "1"}, {"x": "1", "z": "2"}, {"x": "1"}, {"x": "12", "y": ""}]
    digests = {files.sha256_tree(make(tmp_path / f"c{n}", **other)) for n, other in enumerate(others)}
    assert digest not in digests
    assert len(digests) == len(others)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's temporary folder, for the test and its processes alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


USER = (
    "import os, signal, sys\n"
    "from tinygptv.ground.files import scratch_folder\n"
    "with scratch_folder() as folder:\n"
    "    (folder / 'copy').write_bytes(bytes(1000))\n"
    "    print(folder, flush=True)\n"
    "    sys.stdin.readline()\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
)


def test_scratch_folders_go_with_their_block_and_those_of_killed_processes_with_the_next(temporary):
    with files.scratch_folder() as one, files.scratch_folder() as other:
        (one / "file").write_text("one")
        assert one != other and not list(other.iterdir())
        assert (one / "file").read_text() == "one"  # that another process's start would not remove
    assert not list(temporary.iterdir())
    with pytest.raises(KeyError), files.scratch_folder():
        raise KeyError("an error in the block")
    assert not list(temporary.iterdir())
    process = subprocess.Popen([sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    left = Path(process.stdout.readline().strip()) / "copy"
    with files.scratch_folder():
        assert left.is_file()  # at work
    process.communicate("\n")
    assert process.returncode == -9 and left.is_file()
    stranger = temporary / "tinygptv-of-something-else"
    stranger.mkdir()
    with files.scratch_folder():
        assert not left.exists()
    assert list(temporary.iterdir()) == [stranger]


@pytest.mark.parametrize("mode", [0o555, 0])
def test_a_temporary_folder_that_does_not_let_itself_be_used_is_named(temporary, monkeypatch, mode):
    """tempfile looks for another one, and says only that it found none."""

    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    temporary.chmod(mode)
    with without_override(), pytest.raises(PermissionError) as caught, files.scratch_folder():
        pass
    assert str(temporary) in str(from_write_error(caught.value, "copying"))


def test_a_temporary_folder_that_is_full_is_named(temporary, monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    class Full:
        def __init__(self, **_):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(NoSpaceError) as caught, files.scratch_folder():
        pass
    assert f"no space left on the disk of {temporary}: 4,096 bytes are needed" in str(
        from_write_error(caught.value, "copying")
    )

"""Digests that are remembered only where no write can be missed, and folders that notice every change."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from tinygptv.ground import digests
from tinygptv.ground.errors import DataError

OLD = time.time() - 3600


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's memory, empty; small files are remembered, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "REMEMBERED_FROM", 0)
    return tmp_path / "cache" / "tinygptv" / "digests"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that a file's content was read."""
    done: list[int] = []
    digest = digests.file_digest
    monkeypatch.setattr(digests, "file_digest", lambda *arguments: done.append(1) or digest(*arguments))
    return done


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``later(seconds)``: what the clock shows from now on, against the file system's."""
    clock = time.time_ns

    def move(seconds: float) -> None:
        monkeypatch.setattr(digests.time, "time_ns", lambda: clock() + int(seconds * 1e9))

    return move


def ask(memory: Path, statement: str, *values: str) -> list[str]:
    """What is in the memory, or what a statement leaves there."""
    with closing(sqlite3.connect(memory / digests.MEMORY)) as base, base:
        return [row[0] for row in base.execute(statement, values)]


def known(memory: Path) -> list[str]:
    """The digests that are remembered."""
    return ask(memory, "SELECT sha256 FROM files")


def of(content: bytes) -> str:
    return sha256(content).hexdigest()


def test_a_file_that_stays_is_read_once(tmp_path, memory, reads, later) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    later(3)
    assert digests.sha256(file) == digests.sha256(file) == of(b"a")
    assert len(reads) == 1
    file.rename(tmp_path / "elsewhere")  # the same file; its inode's date is another
    assert digests.sha256(tmp_path / "elsewhere") == of(b"a")


def test_a_young_file_is_read_each_time(tmp_path, memory, reads, later) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    for seconds in (0, 1.5, -3600):
        later(seconds)
        digests.sha256(file)
    assert len(reads) == 3
    assert known(memory) == []


def test_a_write_that_keeps_size_and_date_is_seen(tmp_path, memory, later) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    os.utime(file, (OLD, OLD))
    later(3)
    assert digests.sha256(file) == of(b"a")
    assert known(memory) == [of(b"a")]
    file.write_bytes(b"b")
    os.utime(file, (OLD, OLD))
    assert digests.sha256(file) == of(b"b")


def test_another_file_in_the_same_place_is_seen(tmp_path, memory, later) -> None:
    for name, content in (("one", b"a"), ("two", b"b")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (OLD, OLD))
    later(3)
    assert digests.sha256(tmp_path / "one") == of(b"a")
    (tmp_path / "two").replace(tmp_path / "one")
    assert digests.sha256(tmp_path / "one") == of(b"b")


def test_what_changes_while_it_is_read_is_not_remembered(tmp_path, memory, later, monkeypatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    later(3)
    digest = digests.file_digest

    def slow(*arguments):
        found = digest(*arguments)
        file.write_bytes(b"b")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(digests, "file_digest", slow)
        digests.sha256(file)
    assert digests.sha256(file) == of(b"b")


def test_a_memory_that_others_may_write_is_not_asked(tmp_path, memory, later) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    later(3)
    digests.sha256(file)
    ask(memory, "UPDATE files SET sha256 = ?", of(b"forged"))
    assert digests.sha256(file) == of(b"forged"), "the note is what is asked"
    for mode in (0o777, 0o770):
        memory.chmod(mode)
        assert digests.sha256(file) == of(b"a")
    memory.chmod(0o700)
    moved = memory.rename(memory.with_name("moved"))
    memory.symlink_to(moved)
    assert digests.sha256(file) == of(b"a")


@pytest.mark.parametrize("content", [b"", b"[]", b"x" * 5000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_memory_costs_time_alone(tmp_path, memory, later, content) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    later(3)
    digests.sha256(file)
    (memory / digests.MEMORY).write_bytes(content)
    assert digests.sha256(file) == of(b"a")
    assert known(memory) == [of(b"a")]


def test_a_memory_in_which_another_process_writes_costs_time_alone(tmp_path, memory, later, monkeypatch) -> None:
    monkeypatch.setattr(digests, "PATIENCE", 0.01)
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    later(3)
    digests.sha256(file)
    file.write_bytes(b"b")
    later(6)
    with closing(sqlite3.connect(memory / digests.MEMORY, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert digests.sha256(file) == of(b"b")
    assert known(memory) == [of(b"a")]


def test_many_files_are_asked_in_one_go(tmp_path, memory, reads, later) -> None:
    files = [tmp_path / str(number) for number in range(20)]
    for file in files:
        file.write_text(file.name)
    later(3)
    for _ in range(2):
        with digests.DigestMemory.opened() as opened:
            assert [opened.sha256(file) for file in files] == [(len(f.name), of(f.name.encode())) for f in files]
    assert len(reads) == 20


def test_the_memory_is_free_for_others_while_files_are_read(tmp_path, memory, later) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    later(3)
    with digests.DigestMemory.opened() as opened:
        opened.sha256(tmp_path / "a")
        with closing(sqlite3.connect(memory / digests.MEMORY, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            other.execute("ROLLBACK")
        opened.sha256(tmp_path / "b")
    assert sorted(known(memory)) == sorted([of(b"a"), of(b"b")])


def test_a_home_that_cannot_be_written_costs_time_alone(tmp_path, memory, later, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(b"a")
    later(3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digests.sha256(tmp_path / "file") == of(b"a")


def test_the_memory_is_private(tmp_path, memory, later) -> None:
    (tmp_path / "file").write_bytes(b"a")
    later(3)
    digests.sha256(tmp_path / "file")
    assert memory.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder, an hour old."""
    made = tmp_path / "package"
    with digests.sealed(made):
        (made / "more").mkdir(parents=True)
        for name in ("config.json", "weights", "more/words"):
            (made / name).write_text(name)
            os.utime(made / name, (OLD, OLD))
    return made


def test_a_sealed_folder_is_good(folder) -> None:
    assert digests.check(folder)
    listed = json.loads((folder / digests.LIST).read_text())["sha256"]
    assert listed["more/words"] == of(b"more/words")
    assert len(listed) == 3


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed byte": (lambda folder: (folder / "weights").write_text("weightS"), "weights was changed"),
    "cut": (lambda folder: (folder / "weights").write_text(""), "weights was changed"),
    "missing": (lambda folder: (folder / "more/words").unlink(), "more/words is missing"),
    "a link to nothing": (
        lambda folder: ((folder / "weights").unlink(), (folder / "weights").symlink_to("nowhere")),
        "weights is missing",
    ),
    "one more": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter_config.json is not one"),
    "exchanged": (
        lambda folder: [
            (folder / a).write_text(b) for a, b in (("weights", "config.json"), ("config.json", "weights"))
        ],
        "config.json was changed, weights was changed",
    ),
    "many": (lambda folder: [(folder / str(i)).touch() for i in range(9)], "and 6 more"),
    "an empty list": (lambda folder: (folder / digests.LIST).write_text(""), "not valid JSON"),
    "another list": (lambda folder: (folder / digests.LIST).write_text("[]"), "no list of digests"),
    "a list without digests": (lambda folder: (folder / digests.LIST).write_text('{"sha256": {"a": 1}}'), "no list"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_in_a_line(folder, name) -> None:
    damage, words = DAMAGES[name]
    damage(folder)
    with pytest.raises(DataError, match=words) as caught:
        digests.check(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_list_cannot_be_judged(tmp_path) -> None:
    (tmp_path / "weights").touch()
    assert not digests.check(tmp_path)


def test_what_is_written_later_is_sealed_and_hides_no_damage(folder, later) -> None:
    (folder / "weights").write_text("damage!")
    os.utime(folder / "weights", (OLD, OLD))
    later(3)
    with digests.sealed(folder):
        (folder / "README.md").write_text("new")
        (folder / "config.json").write_text("renewed")
        (folder / "more/words").unlink()
    with pytest.raises(DataError, match="there: weights was changed; "):
        digests.check(folder)
    (folder / "weights").write_text("weights")
    assert digests.check(folder)


def test_a_single_file_is_compared_where_its_folder_lists_it(folder, tmp_path) -> None:
    digests.check_file(folder / "weights")
    digests.check_file(tmp_path / "none")
    (folder / "weights").write_text("weightS")
    (folder / "other").touch()
    digests.check_file(folder / "other")
    with pytest.raises(DataError, match="weights is not what was written"):
        digests.check_file(folder / "weights")

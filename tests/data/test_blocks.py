"""Finished blocks: found again as long as inputs and files are the same, linked, pruned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tinygptv.data.blocks import NOTE, Block, BlockStore, inputs_digest
from tinygptv.ground.files import sha256_file

NAME = "cats/train-000000"


@pytest.fixture
def store(tmp_path):
    return BlockStore(tmp_path / "state" / "blocks" / "shards")


def make(store, name=NAME, inputs="one", content=b"block"):
    with store.scratch(name) as folder:
        files = {folder / f"any{suffix}": content + suffix.encode() for suffix in (".tar", ".arrow")}
        for path, part in files.items():
            path.write_bytes(part)
        return store.add(name, inputs, {path: sha256_file(path) for path in files}, {"images": 3})


def test_a_block_is_found_again(store):
    block = make(store)
    assert BlockStore(store.folder).find(NAME, "one") == block
    assert block == Block(NAME, "one", {s: sha256_file(store.path(NAME, s)) for s in (".tar", ".arrow")}, {"images": 3})
    assert store.find(NAME, "two") is None
    assert store.find("cats/train-000001", "one") is None


@pytest.mark.parametrize("damage", ["content", "other file", "gone", "note", "no note"])
def test_a_block_that_is_not_as_it_was_is_none(store, damage):
    make(store)
    path, note = store.path(NAME, ".arrow"), store.folder / f"{NAME}{NOTE}"
    if damage == "content":
        path.write_bytes(b"x" * path.stat().st_size)
    elif damage == "other file":
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        os.utime(copy, ns=(0, path.stat().st_mtime_ns))
        copy.replace(path)
    elif damage == "gone":
        path.unlink()
    elif damage == "note":
        note.write_bytes(note.read_bytes()[:40])
    else:
        note.unlink()
    assert store.find(NAME, "one") is None
    make(store)
    assert store.find(NAME, "one") is not None


def test_links_leave_the_block_as_it_is(store, tmp_path, monkeypatch):
    block = make(store)
    linked = store.link_into(tmp_path / "out", block, ".tar")
    assert linked == tmp_path / "out" / f"{NAME}.tar"
    assert linked.samefile(store.path(NAME, ".tar"))
    assert not (tmp_path / "out" / f"{NAME}.arrow").exists()
    assert store.find(NAME, "one") == block
    linked.unlink()
    assert store.find(NAME, "one") == block

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    copied = store.link_into(tmp_path / "elsewhere", block, ".tar")
    assert not copied.samefile(store.path(NAME, ".tar"))
    assert copied.read_bytes() == b"block.tar"


def test_a_link_that_was_written_to_is_no_block(store, tmp_path):
    linked = store.link_into(tmp_path, make(store), ".tar")
    linked.write_bytes(b"mine!.tar")
    assert store.find(NAME, "one") is None


def test_prune_keeps_what_is_named(store):
    kept = make(store)
    make(store, "cats/train-000001")
    make(store, "dogs/val-000000")
    (store.folder / ".new" / "cats").mkdir(parents=True, exist_ok=True)
    (store.folder / ".new" / "cats" / "half").touch()
    store.prune([NAME, "never/made"])
    left = {path.relative_to(store.folder).as_posix() for path in store.folder.rglob("*") if path.is_file()}
    assert left == {f"{NAME}{suffix}" for suffix in (".tar", ".arrow", NOTE)}
    assert not (store.folder / "dogs").exists()
    assert store.find(NAME, "one") == kept
    BlockStore(store.folder / "none").prune([])


def test_inputs_have_one_digest():
    assert inputs_digest({"a": 1, "b": [2]}) == inputs_digest({"b": [2], "a": 1}) != inputs_digest({"a": 1, "b": [3]})


STOPPED = """
import os, signal, sys
from pathlib import Path
from tests.data.test_blocks import make
from tinygptv.data.blocks import BlockStore

calls = int(sys.argv[2])

def stop(event, arguments):
    global calls
    if event in ("os.rename", "os.remove", "open"):
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(stop)
make(BlockStore(Path(sys.argv[1])), inputs="two", content=b"other")
"""


def test_a_kill_at_any_change_leaves_the_old_block_the_new_one_or_none(store):
    found, code, calls = set(), -signal.SIGKILL, 0
    while code != 0:
        make(store)
        program = [sys.executable, "-c", STOPPED, str(store.folder), str(calls)]
        code = subprocess.run(program, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        old, new = store.find(NAME, "one"), store.find(NAME, "two")
        for block, content in ((old, b"block"), (new, b"other")):
            if block:
                assert {s: store.path(NAME, s).read_bytes() for s in block.digests} == {
                    s: content + s.encode() for s in (".tar", ".arrow")
                }
        found.add((bool(old), bool(new)))
        calls += 1
    assert found == {(True, False), (False, False), (False, True)}

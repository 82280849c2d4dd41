"""``download``: which raw files there are, the same manifest each time, and nothing to do where nothing changed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.checkouts import TEST_IMAGES, TRAIN_IMAGES, Checkout, new_root
from tinygptv.data.manifest import manifest_path
from tinygptv.ground import digests, progress


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A checkout in which nothing was made, with a memory of digests of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Checkout(new_root(tmp_path / "checkout"))
    for path in (made.root / "raw").rglob("*"):
        os.utime(path, (1, 1))
    clock = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: clock() + 10**10)  # the files are old
    return made


@pytest.fixture
def read(monkeypatch):
    """The names of the files that were read."""
    names = []
    digest = digests.file_digest
    monkeypatch.setattr(
        digests, "file_digest", lambda file, kind: names.append(Path(file.name).name) or digest(file, kind)
    )
    return names


def manifest(checkout):
    lines = (manifest_path(checkout.data / "download", "easy_vqa")).read_text().splitlines()
    return [json.loads(line) for line in lines]


def runs(checkout):
    return {path.name: path.read_bytes() for path in (checkout.state / "spool").rglob("*") if path.is_file()}


def test_every_raw_file_is_listed_with_size_and_digest(fresh, run):
    assert run(fresh, "download") == 0
    listed = manifest(fresh)
    names = [entry["name"] for entry in listed]
    assert names == sorted(names)
    assert len(names) == TRAIN_IMAGES + TEST_IMAGES + 3
    for entry in listed:
        content = (fresh.root / "raw" / entry["name"]).read_bytes()
        assert entry == {
            "name": entry["name"],
            "size": len(content),
            "sha256": digests.sha256(fresh.root / "raw" / entry["name"]),
        }


def test_what_did_not_change_is_not_read_again_and_nothing_is_recorded(fresh, run, read):
    assert run(fresh, "download") == 0
    assert len(read) == len(manifest(fresh))
    before, recorded = fresh.outputs(), runs(fresh)
    dates = (manifest_path(fresh.data / "download", "easy_vqa")).stat().st_mtime_ns
    read.clear()
    assert run(fresh, "download") == 0
    assert read == []
    assert fresh.outputs() == before
    assert (manifest_path(fresh.data / "download", "easy_vqa")).stat().st_mtime_ns == dates
    assert runs(fresh) == recorded
    assert not (fresh.state / "staging" / "download").exists()


def test_a_long_look_says_how_far_it_is(fresh, run, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    assert run(fresh, "download") == 0
    assert f"easy_vqa: files: {TRAIN_IMAGES + TEST_IMAGES + 3}, " in capsys.readouterr().out


def test_one_edited_file_is_read_and_told(fresh, run, read):
    fresh.edit("    sha256: ", "    # ")
    assert run(fresh, "download") == 0
    before, recorded = manifest(fresh), runs(fresh)
    read.clear()
    answers = fresh.root / "raw" / "answers.txt"
    answers.write_text("other")
    assert run(fresh, "download") == 0
    assert read == ["answers.txt"]
    changed = [entry["name"] for entry, old in zip(manifest(fresh), before, strict=True) if entry != old]
    assert changed == ["answers.txt"]
    assert runs(fresh) != recorded


@pytest.mark.parametrize("change", ["renamed", "edited", "gone", "new"])
def test_data_of_another_digest_are_refused(fresh, refused, change):
    first = fresh.root / "raw" / "test" / "images" / "0.png"
    if change == "renamed":
        first.rename(first.with_name("00.png"))
    elif change == "edited":
        first.write_bytes(first.read_bytes() + b"!")
    elif change == "gone":
        first.unlink()
    else:
        first.with_name("99.png").write_bytes(b"")
    refused(fresh, "download", "data.easy_vqa.sha256 expects", "found", "get the files again")
    assert runs(fresh), "a failure is on record"


def test_hidden_files_do_not_count(fresh, run):
    (fresh.root / "raw" / ".DS_Store").write_text("x")
    (fresh.root / "raw" / ".git").mkdir()
    (fresh.root / "raw" / ".git" / "config").write_text("x")
    assert run(fresh, "download") == 0


def test_a_missing_folder_is_named(fresh, refused):
    (fresh.root / "raw").rename(fresh.root / "elsewhere")
    refused(fresh, "download", str(fresh.root / "raw"), "correct `images`")

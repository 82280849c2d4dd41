"""Outputs by their digest: from the checkout, else from DVC's cache, never something else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.in_process import dvc
from tests.promotion.worlds import cache_of, put, store
from tinygptv.ground.dvc import dvc_md5, object_file
from tinygptv.ground.errors import DataError
from tinygptv.ground.materials import output

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@t")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "tiny" / "shards"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("one")
    (folder / "sub" / "b").write_text("two")
    return tmp_path


def test_the_checkout_has_it(root):
    with output(root, "tiny", "shards", dvc_md5(root / "data" / "tiny" / "shards")) as folder:
        assert folder == root / "data" / "tiny" / "shards"


def test_the_cache_has_it(root):
    md5 = store(cache_of(root), root / "data" / "tiny" / "shards")
    (root / "data" / "tiny" / "shards" / "a").write_text("something newer")
    with output(root, "tiny", "shards", md5) as folder:
        assert folder != root / "data" / "tiny" / "shards"
        assert ((folder / "a").read_text(), (folder / "sub" / "b").read_text()) == ("one", "two")
    assert not folder.exists()


def test_nobody_has_it(root):
    with (
        pytest.raises(DataError, match=r"f+\.dir of shards is not in DVC's cache; `dvc pull`"),
        output(root, "tiny", "shards", "f" * 32 + ".dir"),
    ):
        pass


def test_what_the_own_lock_records_can_be_pulled_or_made(root):
    md5 = dvc_md5(root / "data" / "tiny" / "shards")
    out = f"{{path: data/tiny/shards, hash: md5, md5: {md5}, size: 6, nfiles: 2}}"
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  shards:\n    cmd: x\n    outs:\n    - {out}\n")
    shutil.rmtree(root / "data")
    with (
        pytest.raises(DataError, match=r"is not in DVC's cache; `dvc pull`, or `dvc repro shards`$"),
        output(root, "tiny", "shards", md5),
    ):
        pass


def test_what_another_checkout_made_comes_as_the_message_says(tmp_path, monkeypatch):
    """`dvc pull` and `dvc repro` here only know this checkout's own lock; the advice is carried out as it stands."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    there, here = tmp_path / "there", tmp_path / "here"

    def run(folder: Path, *command: str) -> None:
        if command[0] == "dvc":
            dvc(folder, *command[1:], "-q")
        else:
            subprocess.run(["git", *IDENTITY, *command[1:], "-q"], cwd=folder, check=True)

    there.mkdir()
    run(there, "git", "init")
    run(there, "dvc", "init")
    (tmp_path / "remote").mkdir()
    run(there, "dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
    make = "mkdir -p data/tiny/shards; cp seed data/tiny/shards/a"
    (there / "dvc.yaml").write_text(f"stages:\n  shards: {{cmd: '{make}', deps: [seed], outs: [data/tiny/shards]}}\n")
    (there / "seed").write_text("one")
    subprocess.run(["git", "add", "-A"], cwd=there, check=True)
    run(there, "git", "commit", "-m", "start")
    subprocess.run(["git", "clone", "-q", str(there), str(here)], check=True)
    run(there, "dvc", "repro")
    md5 = dvc_md5(there / "data" / "tiny" / "shards")

    with pytest.raises(DataError, match=r"`dvc push` there") as told, output(here, "tiny", "shards", md5):
        pass
    assert "commit dvc.lock" in str(told.value) and "`git fetch` and `dvc fetch --all-commits` here" in str(told.value)
    subprocess.run(["git", "add", "-A"], cwd=there, check=True)
    run(there, "git", "commit", "-m", "made")
    run(there, "dvc", "push")
    run(here, "git", "fetch")
    run(here, "dvc", "fetch", "--all-commits")
    with output(here, "tiny", "shards", md5) as folder:
        assert (folder / "a").read_text() == "one"


@pytest.mark.parametrize("content", ["changed", None])
def test_a_damaged_object(root, content):
    md5 = store(cache_of(root), root / "data" / "tiny" / "shards")
    object_ = object_file(cache_of(root), dvc_md5(root / "data" / "tiny" / "shards" / "a"))
    (root / "data" / "tiny" / "shards" / "a").write_text("something newer")
    object_.unlink() if content is None else object_.write_text(content)
    with (
        pytest.raises(DataError, match="not in DVC's cache" if content is None else "is damaged in DVC's cache"),
        output(root, "tiny", "shards", md5),
    ):
        pass


@pytest.mark.parametrize(
    "listing", ["{", "[]", '[{"relpath": "../x", "md5": "00"}]', '[{"relpath": "/x", "md5": "00"}]', "[1]"]
)
def test_a_listing_that_is_none(root, listing):
    put(cache_of(root) / "files" / "md5", "e" * 32 + ".dir", listing.encode())
    with pytest.raises(DataError, match="not in DVC's cache"), output(root, "tiny", "shards", "e" * 32 + ".dir"):
        pass

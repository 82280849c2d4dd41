"""Outputs by their digest: from the checkout, else from DVC's cache, never something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promotion.worlds import cache_of, put, store
from tinygptv.errors import DataError
from tinygptv.promotion import materials
from tinygptv.promotion.materials import output
from tinygptv.tracking.content import dvc_md5


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


@pytest.mark.parametrize("content", ["changed", None])
def test_a_damaged_object(root, content):
    md5 = store(cache_of(root), root / "data" / "tiny" / "shards")
    object_ = materials._object(cache_of(root) / "files" / "md5", dvc_md5(root / "data" / "tiny" / "shards" / "a"))
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

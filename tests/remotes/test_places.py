"""What an address is, and where what lies there is put."""

from __future__ import annotations

import pytest

from tinygptv.config import DataSet
from tinygptv.ground.errors import one_line
from tinygptv.remotes.places import address_at, is_address, local_place, parse

COMMIT = "0" * 39 + "a"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("s3://bucket", "s3/bucket"),
        ("s3://bucket/my cats/a@b.json", "s3/bucket/my cats/a@b.json"),
        ("s3://bucket/pictures/", "s3/bucket/pictures"),
        ("remote://store/x/y", "remote/store/x/y"),
        (f"hf://datasets/me/cats@{COMMIT}", f"hf/datasets/me/cats@{COMMIT}"),
        (f"hf://datasets/me/cats@{COMMIT}/train/a.parquet", f"hf/datasets/me/cats@{COMMIT}/train/a.parquet"),
    ],
)
def test_a_place_is_the_address_below_state_and_leads_back(tmp_path, text, place):
    for root in (tmp_path, tmp_path / ".state" / "worktrees" / "cats"):
        found = local_place(text, root)
        assert found == tmp_path / ".state" / "raw" / place
        assert address_at(found, root) == text.rstrip("/")
    assert str(parse(text)) == text.rstrip("/")
    assert address_at(tmp_path / "data", tmp_path) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gs://bucket/x", "`dvc remote add NAME URL`"),
        ("https://example.org/cats.json", "s3://BUCKET/PATH"),
        ("s3://", "is no address"),
        ("s3:///x", "is no address"),
        ("s3://../x", "is no address"),
        ("remote://../../x", "is no address"),
        ("s3://bucket//x", "empty"),
        ("s3://bucket/../x", "`..`"),
        ("s3://bucket/./x", "`.`"),
        ("remote://store/a/../../b", "`..`"),
        ("s3://key:secret@bucket/x", "is no address"),
        ("hf://me/cats", "is no address"),
        ("hf://datasets/me/cats", "pin the commit"),
        ("hf://datasets/me/cats/x.json", "pin the commit"),
        ("hf://datasets/me/cats@main/x.json", "main may be another commit tomorrow; pin the 40 digits"),
        ("hf://datasets/me/cats@v1.0/x.json", "v1.0 may be another"),
        (f"hf://datasets/../cats@{COMMIT}/x", "is no address"),
    ],
)
def test_what_is_none_is_refused_by_profiles_too(text, words):
    assert is_address(text)
    for read in (parse, lambda name: DataSet(format="llava", files=(name,), licence="MIT")):
        with pytest.raises(ValueError) as caught:
            read(text)
        assert words in str(caught.value)
        assert "secret@" not in one_line(str(caught.value))


@pytest.mark.parametrize("name", ["cats.json", "/data/x", "C:/x", "a b/s3:/x", "x://"[:2]])
def test_a_path_is_no_address(name):
    assert not is_address(name)

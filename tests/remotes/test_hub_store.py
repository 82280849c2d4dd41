"""Data sets of the hub: at one commit, every file verified, and offline once they are here."""

from __future__ import annotations

import random

import pytest

from tests.hub_pushes import REVISION
from tinygptv.ground.errors import DataError, PassingError
from tinygptv.remotes.fetch import fetch

LARGE = random.Random(1).randbytes(5000)
CATS = f"hf://datasets/me/cats@{REVISION}"


@pytest.fixture
def cats(hub):
    hub.files["datasets/me/cats"] = {
        "README.md": b"cats",
        "train/a.parquet": LARGE,
        "train/more/b c.json": b"[]",
        "trained": b"x",
    }
    return hub


def names(place):
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())


def test_a_folder_a_file_and_all(checkout, cats):
    place = fetch(f"{CATS}/train", checkout)
    assert names(place) == ["a.parquet", "more/b c.json"]
    assert (place / "a.parquet").read_bytes() == LARGE
    assert fetch(f"{CATS}/README.md", checkout).read_bytes() == b"cats"
    assert names(fetch(CATS, checkout)) == sorted(cats.files["datasets/me/cats"])
    assert len(cats.transfers()) == 1  # of what is stored as large


def test_a_commit_that_is_here_needs_no_hub(checkout, cats, monkeypatch):
    place = fetch(CATS, checkout)
    cats.requests.clear()
    fetch(CATS, checkout)
    assert cats.requests == []
    (place / "README.md").unlink()
    fetch(CATS, checkout)
    assert [route for method, route, _ in cats.requests if method == "GET" and "resolve" in route] == [
        f"/datasets/me/cats/resolve/{REVISION}/README.md"
    ]


@pytest.mark.parametrize("path", ["README.md", "train/a.parquet"])
def test_content_that_is_not_what_the_hub_lists_is_not_kept(checkout, cats, path):
    size = len(cats.files["datasets/me/cats"][path])
    address = f"{CATS}/{path}"
    cats.damaged = b"<".ljust(size)
    with pytest.raises(PassingError, match=r"has not the .* that is announced; it was not kept"):
        fetch(address, checkout)
    assert not (checkout / ".state/raw/hf").exists()
    cats.damaged = None
    assert fetch(address, checkout).read_bytes() == cats.files["datasets/me/cats"][path]


def test_what_is_not_there(checkout, cats):
    for address, words in (
        (
            f"hf://datasets/me/dogs@{REVISION}/x",
            "no such repository, or it is private; check its name, or set HF_TOKEN",
        ),
        (f"hf://datasets/me/cats@{'f' * 40}/x", "no such revision; check the address"),
        (f"{CATS}/none", "nothing is there; check its name"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            fetch(address, checkout)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2


def test_no_network(checkout, no_network):
    with pytest.raises(PassingError, match="cannot be reached"):
        fetch(CATS, checkout)


def test_the_token_is_sent_and_never_shown(checkout, cats, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    cats.faults = [403] * 9
    with pytest.raises(DataError) as caught:
        fetch(CATS, checkout)
    assert "hf_secret" not in str(caught.value)
    assert cats.tokens[0][1] == "Bearer hf_secret"

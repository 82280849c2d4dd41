"""``download`` fetches what is missing and pinned; else one line says how it is got."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.checkouts import Checkout, new_root
from tests.fetching.conftest import FileServer, running
from tinygptv.config import DataSet
from tinygptv.fetching import asked
from tinygptv.fetching.network import Network
from tinygptv.fetching.sources import SOURCES, AddressList, DataSource, PublishedFile, SetCounts, write_sources
from tinygptv.ground.errors import DataError
from tinygptv.steps.download import fetch_missing

TEXTS = json.dumps([{"id": 1}]).encode()
PLACE = "data/raw/sets/texts.json"


@pytest.fixture
def files():
    yield from running(FileServer)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout with a lock file of nothing; servers of this machine may be asked."""
    monkeypatch.setattr(asked, "Network", lambda: Network(loopback=True))
    made = Checkout(new_root(tmp_path / "checkout"))
    write_sources(made.root / SOURCES, {})
    return made.root


def known(root, **source):
    counts = SetCounts(source="this test")
    write_sources(
        root / SOURCES,
        {"texts": DataSource(licence="CC0-1.0", terms="https://example.org", counts=counts, **source)},
    )


def named(*files, images=""):
    return {"asked": DataSet(format="llava", files=files, images=images, licence="CC0-1.0")}


def refused(root, sets, *words):
    with pytest.raises(DataError) as caught:
        fetch_missing(root, sets)
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))


def test_a_missing_file_that_is_pinned_is_fetched_after_its_plan(root, files, capsys):
    url = files.add("/texts.json", TEXTS)
    pinned = PublishedFile(url=url, size=len(TEXTS), sha256=hashlib.sha256(TEXTS).hexdigest(), to=PLACE)
    known(root, files=(pinned,))
    fetch_missing(root, named(PLACE))
    assert (root / PLACE).read_bytes() == TEXTS
    assert "CC0-1.0" in capsys.readouterr().out
    fetch_missing(root, named(PLACE))
    assert len(files.asked) == 1


def test_one_that_nobody_has_pinned_is_one_line(root, files):
    known(root, files=(PublishedFile(url=files.add("/texts.json", TEXTS), to=PLACE),))
    refused(root, named(PLACE), "tinygptv data lock texts", "tinygptv data fetch texts --yes")
    assert files.asked == []


def test_one_that_is_got_by_hand_says_how(root):
    known(root, by_hand={PLACE: "accept the terms of its publishers, and put texts.json here"})
    refused(root, named(PLACE), f"{PLACE} is missing: accept the terms")


def test_pictures_of_a_list_are_named(root):
    pictures = AddressList(file=PLACE, form="captions", to="data/raw/web/", max_dead=0.5)
    known(root, pictures=pictures)
    refused(root, named("data/raw/web"), "pictures of texts are missing; run `tinygptv data fetch texts`")


def test_what_the_lock_file_does_not_know_is_left_to_the_form(root):
    known(root)
    fetch_missing(root, named("data/raw/mine.json"))
    (root / SOURCES).unlink()
    fetch_missing(root, named("data/raw/mine.json"))

"""The lock file of data sets: its form, its entries, and what profiles find in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinygptv.config.profiles import read_config
from tinygptv.fetching.plan import needed_by
from tinygptv.fetching.sources import SOURCES, chosen, giving, read_sources, write_sources
from tinygptv.ground.errors import DataError, UserError

ROOT = Path(__file__).parents[2]
ENTRY = {"licence": "CC0-1.0", "terms": "https://example.org", "counts": {"source": "its page"}}
FILE = {"url": "https://example.org/a.zip", "unpack": {"a/": "data/raw/a/"}}


@pytest.fixture(scope="module")
def sources():
    return read_sources(ROOT / SOURCES)


@pytest.fixture
def read(tmp_path):
    def call(content):
        path = tmp_path / "lock.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_sources(path)

    return call


def test_it_is_written_as_it_is_read(sources, tmp_path):
    write_sources(tmp_path / "lock.json", sources)
    assert (tmp_path / "lock.json").read_text() == (ROOT / SOURCES).read_text()


@pytest.mark.parametrize("profile", ["paper", "paper-mini", "eval-mini"])
def test_every_file_of_a_profile_is_given_by_an_entry(sources, profile):
    sets = read_config(ROOT / "configs" / f"{profile}.yaml").data
    for name, of_set in sets.items():
        for path in (*of_set.files, *([of_set.images] if of_set.images else [])):
            assert list(giving(sources, path)), (name, path)


def test_every_entry_is_of_use(sources):
    """It lies somewhere, is named by another entry, or names others."""
    named = {name for source in sources.values() for name in source.images}
    for name, source in sources.items():
        assert source.places or source.images or name in named, name
        assert source.licence
        assert source.terms.startswith("https://")
        assert all(how.strip() for how in source.by_hand.values())


def test_no_two_entries_give_the_same(sources):
    places = [place for source in sources.values() for place in source.places]
    assert len(places) == len(set(places))


WRONG = {
    "an unknown key": ({"a": ENTRY | {"license": "x"}}, "unknown key `a.license`"),
    "an unknown key of a file": ({"a": ENTRY | {"files": [FILE | {"md5": "x"}]}}, "unknown key `a.files.0.md5`"),
    "no licence": ({"a": {k: v for k, v in ENTRY.items() if k != "licence"}}, "a.licence"),
    "a digest of another kind": ({"a": ENTRY | {"files": [FILE | {"sha256": "aa31"}]}}, "a.files.0.sha256"),
    "another kind of address": ({"a": ENTRY | {"files": [FILE | {"url": "file:///etc/a.zip"}]}}, "a.files.0.url"),
    "a user in an address": ({"a": ENTRY | {"files": [FILE | {"url": "https://u:p@example.org/a.zip"}]}}, "url"),
    "a place outside": ({"a": ENTRY | {"files": [FILE | {"unpack": {"a/": "data/tiny/"}}]}}, "below data/raw/"),
    "a place that leads out": (
        {"a": ENTRY | {"files": [FILE | {"unpack": {"a/": "data/raw/../x/"}}]}},
        "below data/raw/",
    ),
    "no place": ({"a": ENTRY | {"files": [{"url": FILE["url"]}]}}, "either `to` or `unpack`"),
    "two places": ({"a": ENTRY | {"files": [FILE | {"to": "data/raw/a"}]}}, "either `to` or `unpack`"),
    "no archive": ({"a": ENTRY | {"files": [FILE | {"url": "https://example.org/a.7z"}]}}, "are unpacked"),
    "a folder as a file": ({"a": ENTRY | {"files": [FILE | {"unpack": {"a/": "data/raw/a"}}]}}, "slash at the end"),
    "pictures of nobody": ({"a": ENTRY | {"images": ["b"]}}, "a.images names b"),
    "a list": ([], "should be an object"),
    "no JSON": ("{", "Invalid JSON"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_one_is_one_line(read, what):
    content, said = WRONG[what]
    with pytest.raises(DataError) as caught:
        read(content)
    message = str(caught.value)
    assert said in message, message
    assert "lock.json" in message
    assert "\n" not in message


def test_a_missing_one(tmp_path):
    with pytest.raises(DataError, match="restore it with git"):
        read_sources(tmp_path / "lock.json")


def test_entries_come_with_their_pictures_once(sources):
    found = chosen(sources, ("llava_detail", "llava_reason", "coco2014"))
    assert list(found) == ["llava_detail", "coco_train2014", "llava_reason", "coco2014", "coco_val2014"]
    with pytest.raises(UserError, match="did you mean llava_detail"):
        chosen(sources, ("llava_detial",))


def test_questions_about_pictures_of_2017_come_with_both_splits_of_2014(sources):
    """COCO's train2017 is train2014 and most of val2014."""
    assert list(chosen(sources, ("aok_vqa",))) == ["aok_vqa", "coco_train2014", "coco_val2014"]


def test_a_path_is_given_by_its_folder_and_by_what_is_in_it(sources):
    assert list(giving(sources, "data/raw/coco/train2014")) == ["coco_train2014"]
    assert list(giving(sources, "data/raw/coco/train2014/COCO_train2014_1.jpg")) == ["coco_train2014"]
    assert list(giving(sources, "data/raw/ok_vqa")) == ["okvqa_val"]
    assert list(giving(sources, "data/raw/refcoco")) == ["refcoco"]
    assert list(giving(sources, "data/raw/nosuch")) == []


def test_a_profile_of_ones_own_needs_nothing(sources):
    assert needed_by(dict(read_config(ROOT / "configs" / "tiny.yaml").data), sources) == ()

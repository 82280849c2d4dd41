"""LLaMA-Factory's `dataset_info.json`, beside the file that it describes or in a folder above."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tinygptv.data.records import Turn
from tinygptv.ground.errors import DataError

TALK = [{"who": "me", "what": "<image>What?"}, {"who": "it", "what": "A cat."}]
TAGS = {"role_tag": "who", "content_tag": "what", "user_tag": "me", "assistant_tag": "it", "system_tag": "law"}
COLUMNS = {"messages": "talk", "images": "pics", "system": "rule", "tools": "tools"}
ENTRY = {"talk": TALK, "pics": ["1.png"], "rule": "Be brief.", "messages": 3}
INFO = "dataset_info.json"


@pytest.fixture
def turns(tmp_path):
    """``turns(entry, infos, files=...)``: those of an entry of ``set/data/cats.json``; what describes it, by folder."""
    draw(tmp_path / "images" / "1.png")

    def make(entry, infos, files=("set/data/cats.json",)):
        write_json(tmp_path / "set" / "data" / "cats.json", [entry])
        for folder, info in infos.items():
            write_json(tmp_path / "set" / folder / INFO, info)
        (found,), rejected = read_set(tmp_path, "messages", files)
        assert rejected == []
        return found.record.turns

    return make


def described(name, **keys):
    """A description among others."""
    return {"other": {"file_name": "dogs.json"}, "mine": {"file_name": name, "formatting": "sharegpt", **keys}}


def test_one_beside_the_file_is_read_and_seen_by_download(turns, tmp_path):
    said = turns(ENTRY, {"data": described("cats.json", columns=COLUMNS, tags=TAGS)})
    assert said == (Turn("Be brief.\nWhat?", "A cat."),)
    assert f"set/data/{INFO}" in (tmp_path / "manifest").read_text()


def test_one_in_a_folder_above_the_nearest_of_several(turns):
    above = described("data/cats.json", columns=COLUMNS, tags=TAGS)
    for infos in ({"": above}, {"": described("data", columns=COLUMNS, tags=TAGS)}):
        assert turns(ENTRY, infos, files=("set",)) == (Turn("Be brief.\nWhat?", "A cat."),)
    nearer = described("cats.json", columns={"messages": "talk", "images": "pics"}, tags=TAGS)
    assert turns(ENTRY, {"": above, "data": nearer}, files=("set",)) == (Turn("What?", "A cat."),)


def test_columns_of_alpaca(turns):
    info = described("cats.json", columns={"prompt": "q", "response": "a", "query": "more"})
    assert turns({"q": "What?", "more": "Now?", "a": "A cat."}, {"data": info}) == (Turn("What?\nNow?", "A cat."),)


@pytest.mark.parametrize(
    "text", ["[1]", "{", '"a"', '{"a": {"file_name": "cats.json", "tags": [1]}}', "\xff", "[" * 100_000]
)
def test_one_that_is_none_is_one_line(tmp_path, text):
    write_json(tmp_path / "set" / "cats.json", [ENTRY])
    (tmp_path / "images").mkdir()
    (tmp_path / "set" / INFO).write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"dataset_info\.json"):
        read_set(tmp_path, "messages", ("set/cats.json",))

"""A list that is written entry by entry is there as a whole or not at all."""

import json

import pytest

from tinygptv.ground.json_list import json_list


@pytest.mark.parametrize("entries", [[], [{"b": 1, "a": "ü"}], [1, [2], None]])
def test_what_is_written_is_read_again(entries, tmp_path):
    path = tmp_path / "below" / "list.json"
    with json_list(path) as append:
        for entry in entries:
            append(entry)
    assert json.loads(path.read_bytes()) == entries
    assert [found.name for found in path.parent.iterdir()] == ["list.json"]


def test_equal_content_is_equal_bytes(tmp_path):
    for name, entry in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        with json_list(tmp_path / name) as append:
            append(entry)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("entry", [float("nan"), object()])
def test_what_breaks_off_leaves_what_was_there(entry, tmp_path):
    path = tmp_path / "list.json"
    path.write_text("[]\n")
    with pytest.raises((ValueError, TypeError)), json_list(path) as append:
        append(1)
        append(entry)
    assert path.read_text() == "[]\n" and list(tmp_path.iterdir()) == [path]

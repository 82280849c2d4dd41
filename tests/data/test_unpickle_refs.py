"""Pickles of strangers: whatever they are, they end in one line and run nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from tinygptv.data.formats.refer import READER
from tinygptv.ground.errors import DataError
from tinygptv.ground.strangers import read_apart


class Canary:
    """An expression's place taken by a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def deep(levels: int) -> bytes:
    """A list in a list in a list."""
    return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


def laughs(levels: int) -> bytes:
    """A text that is there once and named so many times: a small file that is gigabytes of JSON."""
    sentence = {"sent_id": 1, "sent": "a" * 10_000}
    return pickle.dumps([{"sentences": [sentence] * 1000}] * levels)


def hostile(folder: Path) -> list[tuple[str, bytes]]:
    """What a file is refused for → its bytes."""
    good = pickle.dumps([{"split": "val", "sentences": []}] * 100, protocol=2)
    return [
        ("holds code or objects (posix.system), which were not run", pickle.dumps([Canary(folder / "canary")])),
        ("holds code or objects (builtins.eval), which were not run", b"cbuiltins\neval\n(S'1'\ntR."),
        ("holds code or objects (os.system), which were not run", b"(S'true'\nios\nsystem\n."),
        ("holds code or objects (collections.OrderedDict), which were not run", b"ccollections\nOrderedDict\n)R."),
        ("is damaged, or no pickle", good[: len(good) // 2]),
        ("is damaged, or no pickle (A load persistent id", b"\x80\x02K\x01Q."),
        ("is damaged, or no pickle (pickle data was truncated", b"\x80\x02X\xff\xff\x00\x00abc"),
        ("is damaged, or no pickle (unregistered extension", b"\x80\x02\x82\x07."),
        ("is damaged, or no pickle (invalid load key", b"\xffnot a pickle"),
        ("is damaged, or no pickle (Ran out of input", b""),
        ("asks for more memory than its size explains", b"\x80\x02]r\xff\xff\xff\x7f."),
        ("asks for more memory than its size explains", b"\x80\x02X\xff\xff\xff\x7fabc"),
        ("holds a value of type str", b"\x80\x02X\x01\x00\x00\x00a."),
    ]


def refusal(path: Path, target: Path) -> str:
    with pytest.raises(DataError) as raised:
        read_apart(READER, path, target, refused=DataError, fix="fetch it again")
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.drill(20, "pickles of expressions that run code, huge and damaged ones: refused, canary untouched")
def test_hostile_and_damaged_pickles_are_refused_in_one_line_and_run_nothing(tmp_path):
    for number, (reason, content) in enumerate(hostile(tmp_path)):
        path = tmp_path / f"{number}.p"
        path.write_bytes(content)
        said = refusal(path, tmp_path / "out")
        assert reason in said
        assert str(path) in said
    assert not (tmp_path / "canary").exists()


def test_the_canary_works(tmp_path):
    """Else the test above would pass with any reader."""
    pickle.loads(pickle.dumps([Canary(tmp_path / "canary")]))
    assert (tmp_path / "canary").exists()


@pytest.mark.drill(20, "pickles of expressions that run code, huge and damaged ones: refused, canary untouched")
def test_a_million_lists_in_one_another_are_no_crash(tmp_path):
    path = tmp_path / "deep.p"
    path.write_bytes(deep(1_000_000))
    read_apart(READER, path, tmp_path / "out", refused=DataError, fix="fetch it again")
    assert (tmp_path / "out").read_text() == "{}\n"


@pytest.mark.drill(20, "pickles of expressions that run code, huge and damaged ones: refused, canary untouched")
def test_a_text_that_is_named_a_million_times_is_refused(tmp_path):
    path = tmp_path / "laughs.p"
    path.write_bytes(laughs(1_000))
    assert path.stat().st_size < 20_000
    assert "bytes of text in a file of" in refusal(path, tmp_path / "out")


def test_what_is_needed_of_an_entry_is_written_and_nothing_else(tmp_path):
    sentence = {"sent_id": 3, "sent": "the \u00e9 \ud83d\ude00 man", "raw": "x", "tokens": ["the"]}
    refs = [{"ref_id": 1, "ann_id": "a", "image_id": True, "split": "val", "sentences": [sentence, 5]}, None]
    (tmp_path / "refs.p").write_bytes(pickle.dumps(refs))
    read_apart(READER, tmp_path / "refs.p", tmp_path / "out", refused=DataError, fix="fetch it again")
    assert (tmp_path / "out").read_text().splitlines() == [
        '{"ref_id": 1, "ann_id": "a", "split": "val", "sentences": '
        '[{"sent_id": 3, "sent": "the \\u00e9 \\ud83d\\ude00 man", "raw": "x"}, {}]}',
        "{}",
    ]

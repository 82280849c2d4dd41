"""No text of others holds a mark, and what taking marks apart adds to a text has a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygptv.data.marks import BOS_MARK, IMAGE_MARK, defuse, growth, most_bytes


@pytest.mark.drill(17, "no text makes an image slot or ends a turn")
@given(st.text(alphabet="#<>ImageHr ab\n", max_size=30), st.sampled_from(["###", "##", "#ab#", "</s>"]))
def test_no_text_keeps_a_mark(text: str, end_mark: str) -> None:
    marked = [text.replace("a", mark) for mark in (IMAGE_MARK, BOS_MARK, end_mark)]
    for hostile in (text, *marked, end_mark * 3 + text):
        safe = defuse(hostile, end_mark)
        assert end_mark not in safe
        assert IMAGE_MARK not in safe and BOS_MARK not in safe
        assert safe.replace(" ", "") == hostile.replace(" ", ""), "only spaces may come in"


@pytest.mark.drill(17, "no text makes an image slot or ends a turn")
@pytest.mark.parametrize("end_mark", ["\n", "#", " ", " #", "# "])
def test_a_mark_of_one_character_beside_spaces_cannot_be_taken_apart(end_mark: str) -> None:
    assert defuse("a # b\nc <ImageHere>", end_mark) == "a # b\nc <Image Here>"


@given(
    st.one_of(st.text(max_size=40), st.text(alphabet="#<>/s_ab \n\u00e9", max_size=40)),
    st.sampled_from(["###", "##", "<|>", "#ab#", "</s>", "_#_", "END", "\n", "#"]),
)
def test_the_bound_holds_whatever_is_taken_apart(text: str, end_mark: str) -> None:
    marked = text.replace("a", IMAGE_MARK), text.replace("a", BOS_MARK), BOS_MARK + end_mark + IMAGE_MARK
    for hostile in (text, end_mark * 5 + text, *marked, IMAGE_MARK + end_mark * 3):
        assert len(defuse(hostile, end_mark).encode()) <= growth(end_mark) * most_bytes(hostile)


def test_the_bound_of_a_common_text_is_its_bytes() -> None:
    for text in ("a red circle, left of a blue one.", "Caf\u00e9 au lait (2 \u20ac) - it's 50 %", "{<1><2><3><4>}"):
        assert len(text.encode()) <= most_bytes(text) <= len(text.encode()) + text.count("><") + 2
    assert [growth(mark) for mark in ("###", "#", "\n", "</s>", "_")] == [1, 1, 1, 2, 2]

"""What is told of a record that is left out can be printed, whatever stands in its file."""

from __future__ import annotations

from tinygptv.data.conversations import rejection, visible


def test_what_cannot_be_seen_is_written_out():
    assert visible("a\u202eb\tc\x1b é…") == "a\\u202eb\\tc\\x1b é…"


def test_a_rejection_is_one_line():
    assert rejection("cat\n1", "not a\n\x1b[31mb") == {"id": "'cat\\n1'", "reason": "not a\\n\\x1b[31mb"}

"""Words of captions, against what COCO's scripts gave with CoreNLP 3.4.1 on Java 17 (pycocoevalcap's PTBTokenizer)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinygptv.evaluation.metrics.caption_words import words

ROOT = Path(__file__).resolve().parents[3]

THEIRS = [line.split("\t") for line in (ROOT / "tests/golden/caption_words.tsv").read_text("utf-8").splitlines()]


@pytest.mark.parametrize(("caption", "theirs"), THEIRS)
def test_words_are_those_of_cocos_scripts(caption, theirs):
    assert " ".join(words(caption)) == theirs


@pytest.mark.parametrize(
    "caption", ["a" * 100_000, "'" * 100_000, "a+" * 50_000, "<a" * 50_000, "n't" * 30_000, "x." * 50_000]
)
def test_a_long_answer_is_cut_as_well(caption):
    assert len(words(caption)) <= len(caption)

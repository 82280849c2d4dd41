"""Hateful Memes: splits by the names of both releases, and those without labels."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_lines
from tinygptv.data.formats.hateful_memes import PARTS, annotations
from tinygptv.ground.errors import DataError

MEME = {"id": 8291, "img": "img/08291.png", "label": 1, "text": "white people is this a shooting range"}


@pytest.mark.parametrize("part", PARTS)
def test_every_split_by_its_file(tmp_path, part):
    for number, name in enumerate(PARTS):
        write_lines(tmp_path / f"{name}.jsonl", [{**MEME, "id": number}])
    (found,) = annotations(sorted(tmp_path.iterdir()), part)
    assert found.id == str(list(PARTS).index(part))


def test_the_official_layout(tmp_path):
    write_lines(tmp_path / "dev_seen.jsonl", [MEME, {**MEME, "id": 46971, "label": 0, "text": ""}])
    draw(tmp_path / "images" / "img" / "08291.png")
    (first, second), rejected = read_set(tmp_path, "hateful_memes", ("dev_seen.jsonl",))
    assert first.record.annotation == {"answer": "yes", "text": MEME["text"]}
    assert second.record.turns[0].question == "This image says ''. Is it hateful?"
    assert second.record.turns[0].answer == "no"
    assert rejected == []


def test_the_folder_of_images_itself(tmp_path):
    write_lines(tmp_path / "dev_seen.jsonl", [MEME])
    draw(tmp_path / "images" / "08291.png")
    assert len(read_set(tmp_path, "hateful_memes", ("dev_seen.jsonl",))[0]) == 1


def test_a_split_without_labels(tmp_path):
    hidden = {key: value for key, value in MEME.items() if key != "label"}
    with pytest.raises(DataError, match=r"test\.jsonl, line 1 has no `label`"):
        list(annotations([write_lines(tmp_path / "test.jsonl", [hidden])], "test"))


def test_an_id_that_stands_twice(tmp_path):
    with pytest.raises(DataError, match="line 2: the id 8291 stands twice"):
        list(annotations([write_lines(tmp_path / "dev_seen.jsonl", [MEME, MEME])], ""))


def test_the_other_phase_is_another_split(tmp_path):
    path = write_lines(tmp_path / "dev_unseen.jsonl", [MEME])
    with pytest.raises(DataError, match=r"no file is of the part dev_seen; there is dev_unseen\.jsonl"):
        list(annotations([path], "dev_seen"))

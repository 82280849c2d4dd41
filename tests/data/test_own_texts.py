"""Texts of people's own files, from the file through shards to a batch: kept as they are, and harmless there."""

from __future__ import annotations

import csv
import json

import pytest

from tests.data.conftest import QUERIES, SLOT
from tests.data.formats.official import draw
from tests.data.made import context
from tests.data.texts import HARMLESS
from tinygptv.config import DataSet
from tinygptv.data.order import Draw
from tinygptv.data.prompts import end_mark_id
from tinygptv.data.shards import read_records
from tinygptv.data.summary import tars
from tinygptv.steps import shards

ROOM = {"max_answer_tokens": 100_000, "max_sequence_tokens": 100_000}


def in_csv(root):
    with (root / "own.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("image", "caption"), *((f"{number}.png", text) for number, text in enumerate(HARMLESS))])
    return DataSet(format="pairs", files=("own.csv",), images="pictures", licence="MIT"), "caption"


def in_messages(root):
    said = ([("user", f"Look. {text}"), ("assistant", text)] for text in HARMLESS)
    entries = [
        {"messages": [{"role": role, "content": text} for role, text in turns], "images": f"{number}.png"}
        for number, turns in enumerate(said)
    ]
    (root / "own.json").write_text(json.dumps(entries))
    return DataSet(format="messages", files=("own.json",), images="pictures", licence="MIT"), "conversation"


def in_metadata(root):
    lines = [json.dumps({"file_name": f"{number}.png", "text": text}) for number, text in enumerate(HARMLESS)]
    (root / "pictures" / "metadata.jsonl").write_text("\n".join(lines))
    return DataSet(format="imagefolder", images="pictures", licence="MIT"), "caption"


@pytest.mark.parametrize("write", [in_csv, in_messages, in_metadata])
def test_no_text_of_a_file_opens_a_slot_or_ends_a_turn(write, tmp_path, smoke, build, tokenizer):
    for number in range(len(HARMLESS)):
        draw(tmp_path / "pictures" / f"{number}.png", number)
    settings, task = write(tmp_path)
    made = context(tmp_path, smoke, {"own": settings})
    shards.run(made)
    samples = list(read_records(tars(made.out / "own")))
    answers = {record.turns[0].answer for sample in samples for record in sample.records}
    assert answers == set(HARMLESS)
    stage = smoke.stage4.model_copy(update={"mixture": {f"own/{task}": 1.0}, **ROOM})
    batches, end = build(stage, samples=samples), end_mark_id(tokenizer, smoke.stage4.prompt.end_mark)
    for place in range(len(HARMLESS)):
        example = batches.example(Draw(f"own/{task}", place, 0, 0))
        assert example.input_ids.count(SLOT) == QUERIES
        assert [label for label in example.labels if label == end] == [end]
        assert example.cut_answers == 0

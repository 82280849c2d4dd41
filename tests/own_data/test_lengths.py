from __future__ import annotations

import pytest

from tinygptv.data.records import Record, Turn
from tinygptv.ground.errors import DataError
from tinygptv.own_data.lengths import limits_of


def of(smoke, records, tokenizer=None, **given):
    settings = {"slots": 4, "positions": 256, "whole": True, "task": None, **given}
    task = settings.pop("task")
    return limits_of(records, task, smoke.stage4.prompt, tokenizer, **settings)


def record(question: str, *answers: str) -> Record:
    return Record("r", "vqa", tuple(Turn(question, answer) for answer in answers))


def test_limits_hold_what_a_stage_makes_of_the_longest(smoke, tokenizer):
    from tinygptv.data.record_encoder import RecordEncoder

    records = [record("what is it?", "a cat"), record("what is it on the very left?", "a red circle", "blue", "a box")]
    found = of(smoke, records, tokenizer)
    stage = smoke.stage4.model_copy(update={"max_answer_tokens": found.answer, "max_sequence_tokens": found.sequence})
    encoder = RecordEncoder(tokenizer, stage, image_token_id=1024, slots=4)
    for one in records:
        for template in range(2):
            made = encoder.example(one, "vqa", template, lambda _, turn: (turn.question, turn.answer), pictured=True)
            assert (made.cut_answers, made.left_out_turns) == (0, 0)
    assert found.cut == 0
    assert found.answer % 8 == found.sequence % 8 == 0


def test_turns_that_are_asked_alone_are_shorter(smoke, tokenizer):
    records = [record("what is it?", *["a cat"] * 6)]
    assert of(smoke, records, tokenizer, task="vqa").sequence < of(smoke, records, tokenizer).sequence


def test_a_sample_leaves_room_and_nothing_is_longer_than_the_model(smoke):
    records = [record("what?", "x" * 100)]
    assert of(smoke, records).answer == 104
    assert of(smoke, records, whole=False).answer == 128
    long = of(smoke, [record("what?", "x" * 400)])
    assert (long.answer, long.sequence, long.cut) == (256, 256, 1)


def test_a_question_that_leaves_no_room_is_told_with_its_record(smoke):
    with pytest.raises(DataError, match=r"record r: its question has \d+ tokens, and the model has 256 positions"):
        of(smoke, [record("y" * 300, "no")])

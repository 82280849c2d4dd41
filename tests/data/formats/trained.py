"""What a stage makes of a form's records, through the real batches."""

from __future__ import annotations

from tests.data.conftest import SLOT, alone, pictured
from tinygptv.data.prompts import IGNORE_INDEX

DRAWS = 400
MARK = "\0"
"""Where the image is."""


def trained(build, tokenizer, stage, found, family=""):
    """(text before the answer, answer with its end mark) of many draws of a stage that mixes these records alone.

    Args:
        build: the fixture of this name.
        tokenizer: the fixture of this name.
        stage: its prompt is asked with.
        found: the records.
        family: the instructions, where they are not those of the task, as in ``SET/align``.
    """
    entry = f"asked/{family}" if family else "asked"
    room = {"max_answer_tokens": 1000, "max_sequence_tokens": 5000}
    samples = [
        alone(item.record, "asked") if item.image is None else pictured(item.record, dataset="asked", number=number)
        for number, item in enumerate(found)
    ]
    batches = build(stage.model_copy(update={"mixture": {entry: 1.0}, **room}), samples=samples)
    drawn = [batches.example(draw) for place in range(DRAWS) for draw in batches.order.draws(place)]
    return {_texts(tokenizer, example) for example in drawn}


def _texts(tokenizer, example):
    ids, slots = example.input_ids, [place for place, token in enumerate(example.input_ids) if token == SLOT]
    first = next(place for place, label in enumerate(example.labels) if label != IGNORE_INDEX)
    prompt = tokenizer.decode(ids[1:first])
    if slots:
        prompt = f"{tokenizer.decode(ids[1 : slots[0]])}{MARK}{tokenizer.decode(ids[slots[-1] + 1 : first])}"
    return prompt, tokenizer.decode(ids[first:])

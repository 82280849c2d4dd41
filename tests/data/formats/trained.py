"""What a stage makes of a form's records, through the real batches."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from tests.data.conftest import SLOT, alone, pictured
from tinygptv.data.prompts import IGNORE_INDEX

DRAWS = 400
MARK = "\0"
"""Where the image is."""


def trained(build, tokenizer, stage, found, family=""):
    """(text before the answer, answer with its end mark) of many draws; the arguments are those of ``counted``."""
    return set(counted(build, tokenizer, stage, found, family))


def drawn(build, tokenizer, stage, record, draws):
    """Instruction, and answer, of as many draws of a record about a picture → how often they were drawn."""
    asked, answered = Counter(), Counter()
    for (prompt, answer), times in counted(build, tokenizer, stage, [record], draws=draws).items():
        asked[prompt.partition("</Img> ")[2].partition(" ###Assistant")[0]] += times
        answered[answer.removesuffix(stage.prompt.end_mark)] += times
    return SimpleNamespace(asked=asked, answered=answered)


def check_shares(counts, shares):
    """Check that counts are those of draws with these shares: within four standard deviations of the binomial."""
    total = sum(counts.values())
    assert counts.keys() == shares.keys()
    for name, share in shares.items():
        assert abs(counts[name] - total * share) < 4 * (total * share * (1 - share)) ** 0.5, name


def counted(build, tokenizer, stage, found, family="", draws=DRAWS):
    """(text before the answer, answer with its end mark) → how often a stage draws it that mixes these records alone.

    Args:
        build: the fixture of this name.
        tokenizer: the fixture of this name.
        stage: its prompt is asked with.
        found: the records.
        family: the instructions, where they are not those of the task, as in ``SET/align``.
        draws: how many.
    """
    entry = f"asked/{family}" if family else "asked"
    room = {"max_answer_tokens": 1000, "max_sequence_tokens": 5000}
    samples = [
        alone(item.record, "asked") if item.image is None else pictured(item.record, dataset="asked", number=number)
        for number, item in enumerate(found)
    ]
    batches = build(stage.model_copy(update={"mixture": {entry: 1.0}, **room}), samples=samples)
    drawn = Counter()
    for place in range(draws):
        (example,) = map(batches.example, batches.order.draws(place))
        drawn[tuple(example.input_ids), tuple(example.labels)] += 1
    return Counter({_texts(tokenizer, *ids): times for ids, times in drawn.items()})


def _texts(tokenizer, ids, labels):
    slots = [place for place, token in enumerate(ids) if token == SLOT]
    first = next(place for place, label in enumerate(labels) if label != IGNORE_INDEX)
    prompt = tokenizer.decode(ids[1:first])
    if slots:
        prompt = f"{tokenizer.decode(ids[1 : slots[0]])}{MARK}{tokenizer.decode(ids[slots[-1] + 1 : first])}"
    return prompt, tokenizer.decode(ids[first:])

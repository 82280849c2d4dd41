"""A conversation becomes what the authors' own code makes of it: token ids, attention mask and labels.

The files of ``tests/golden/v2_stage4_conv`` are inputs of their ``forward`` (tests/golden/README.md). There a sequence
goes on to their ``max_txt_len`` in the middle of a question; here a turn that does not fit is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from tests.data.conftest import pictured
from tinygptv.config import Config
from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.data.records import ImageRecord, Record, Turn

GOLDEN = Path(__file__).parents[1] / "golden"
CASE = GOLDEN / "v2_stage4_conv"
FACTS = json.loads((CASE / "case.json").read_text())
TEMPLATE = "[INST] {}  [/INST]"
"""Theirs, and the space that ends every question of theirs."""


def conversations() -> list[ImageRecord]:
    """Their samples as records: without the wrapper of the first question and the space at the end of each."""
    said, samples = FACTS["samples"], []
    for i, (asked, answered) in enumerate(zip(said["conv_q"], said["conv_a"], strict=True)):
        questions = asked.removeprefix("<Img><ImageHere></Img> ").split(said["connect_sym"][0])
        assert all(question.endswith(" ") for question in questions)
        answers = answered.split(said["connect_sym"][0])
        turns = tuple(Turn(question[:-1], answer) for question, answer in zip(questions, answers, strict=True))
        samples.append(pictured(Record(str(i), "conversation", turns), number=i))
    return samples


def batch_of(build: Any, smoke: Config, **prompt: Any) -> Batch:
    """The three conversations as one batch of ours."""
    changed = {"template": TEMPLATE, "end_mark": FACTS["end_sym"], "bos_between_turns": True} | prompt
    stage = smoke.stage4.model_copy(
        update={
            "prompt": smoke.stage4.prompt.model_copy(update=changed),
            "mixture": {"easy_vqa": 1.0},
            "steps_per_epoch": 1,
            "batch_size": 3,
            "micro_batch_size": 3,
            "max_answer_tokens": 32,
            "max_sequence_tokens": 101,
        }
    )
    words = PreTrainedTokenizerFast.from_pretrained(GOLDEN / "tokenizer")
    words.bos_token = words.pad_token = words.eos_token
    sizes = {"slot": FACTS["image_slot"], "queries": FACTS["num_query_tokens"]}
    (batch,) = build(stage, samples=conversations(), words=words, **sizes).batch(0)
    return batch


def test_a_conversation_is_tokenised_masked_and_learned_as_by_the_authors(build: Any, smoke: Config) -> None:
    expected, batch = load_file(CASE / "inputs.safetensors"), batch_of(build, smoke)
    longest = batch.input_ids.shape[1]
    assert sorted(batch.record_ids) == ["0", "1", "2"]
    for row, name in enumerate(batch.record_ids):
        for key, ours in (("input_ids", batch.input_ids), ("labels", batch.labels), ("mask", batch.attention_mask)):
            theirs_T = expected["attention_mask" if key == "mask" else key][int(name)]
            there = int(batch.attention_mask[row].nonzero().max()) + 1
            assert ours[row, :there].tolist() == theirs_T[:there].tolist(), (name, key)
            if key == "labels":
                assert ours[row, there:].eq(IGNORE_INDEX).all()
                assert theirs_T[there:].eq(IGNORE_INDEX).all(), "what they have more carries no loss"
    inner_BT = (batch.attention_mask == 0) & (torch.arange(longest) > 0) & (batch.input_ids == FACTS["bos"])
    assert inner_BT.any()


@pytest.mark.parametrize("changed", [{"bos_between_turns": False}, {"template": "[INST] {} [/INST]"}])
def test_without_their_bos_or_their_space_it_is_another_sequence(
    build: Any, smoke: Config, changed: dict[str, Any]
) -> None:
    batch, expected = batch_of(build, smoke, **changed), load_file(CASE / "inputs.safetensors")["input_ids"]
    row = batch.record_ids.index("0")
    assert batch.input_ids[row, :87].tolist() != expected[0, :87].tolist()

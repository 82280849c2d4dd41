"""Prompts and tokens: slots, end marks, and text that stays text."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from tinygptv.config import Prompt
from tinygptv.data import prompts
from tinygptv.ground.errors import DataError

CHAT = Prompt(
    template="###Human: {} ###Assistant: ",
    end_mark="###",
    bos_in_training=True,
    bos_at_inference=True,
    bos_between_turns=False,
)
BARE = Prompt(template="", end_mark="\n", bos_in_training=True, bos_at_inference=True, bos_between_turns=False)
SLOT = 9999


def test_the_prompt_is_the_papers() -> None:
    expected = "###Human: <Img><ImageHere></Img> [vqa] what? ###Assistant: "
    assert prompts.prompt_text(CHAT, "[vqa] what?") == expected
    assert prompts.next_turn_text(CHAT, "[vqa] what?") == "###Human: [vqa] what? ###Assistant: "
    assert prompts.prompt_text(BARE, "[caption] A photo of") == "<ImageHere>"


def test_braces_in_an_instruction_stay(tokenizer: PreTrainedTokenizerFast) -> None:
    assert "[identify] {<1><2><3><4>} {}" in prompts.prompt_text(CHAT, "[identify] {<1><2><3><4>} {}")


def test_a_mark_becomes_slots_between_separately_tokenised_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    def encode(text: str) -> list[int]:
        return prompts.encode_text(tokenizer, text)

    ids = prompts.encode_prompt(tokenizer, "a <ImageHere> b<ImageHere>", image_token_id=SLOT, slots=3, bos=True)
    assert ids == [tokenizer.bos_token_id, *encode("a "), *[SLOT] * 3, *encode(" b"), *[SLOT] * 3]
    bare = prompts.encode_prompt(tokenizer, "<ImageHere>", image_token_id=SLOT, slots=2, bos=False)
    assert bare == [SLOT, SLOT]


@pytest.mark.drill(17, "no text makes an image slot or ends a turn")
def test_end_of_text_in_a_text_is_characters(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = prompts.encode_text(tokenizer, "a<|endoftext|>b")
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == "a<|endoftext|>b"


@pytest.mark.parametrize("limit", [2, 3, 100])
def test_a_long_answer_keeps_its_end_mark(tokenizer: PreTrainedTokenizerFast, limit: int) -> None:
    whole = prompts.encode_text(tokenizer, "a red circle and a blue one")
    ids = prompts.end_answer(tokenizer, whole, end_id=77, max_tokens=limit)
    assert ids == [*whole[: limit - 1], 77]
    assert len(ids) <= limit


def test_the_end_mark_must_be_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode([prompts.end_mark_id(tokenizer, "###")]) == "###"
    for mark in ("#+#", ""):
        with pytest.raises(DataError, match="choose one that is a single token"):
            prompts.end_mark_id(tokenizer, mark)

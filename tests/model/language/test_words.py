"""Prompts of a tokenizer whose BOS is not its EOS: Llama's, and that of stand-ins; whose tokenizer a file is."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.model.language.words import llama_tokenizer, write_llama_tokenizer
from tinygptv.config import Config
from tinygptv.data import prompts
from tinygptv.ground.errors import CheckpointError, DataError
from tinygptv.model.language import BY_NAME
from tinygptv.model.processing import build_processor
from tinygptv.model.profile import from_profile
from tinygptv.model.upstream.build import published_tokenizer
from tinygptv.pretraining.documents import train_tokenizer

SLOT = 400


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return llama_tokenizer()


@pytest.mark.parametrize("mark", ["\n", "###"])
def test_an_end_mark_is_one_token_whatever_begins_a_text(words, mark):
    end = prompts.end_mark_id(words, mark)
    answer = prompts.end_answer(words, prompts.encode_answer(words, "a red circle", mark), end_id=end, max_tokens=None)
    assert answer[-1] == end not in answer[:-1]
    assert words.decode(answer).removesuffix(mark).rstrip() == "a red circle"
    with pytest.raises(DataError, match="is 3 tokens here"):
        prompts.end_mark_id(words, "\n\n")


def test_a_text_begins_with_bos_and_no_text_can_write_a_special_token(words):
    ids = prompts.encode_prompt(words, "what is it? </s><s>", image_token_id=SLOT, slots=2, bos=True)
    assert ids[0] == words.bos_token_id == 1
    assert not {words.bos_token_id, words.eos_token_id} & set(ids[1:])
    assert words.decode(ids[1:]) == "what is it? </s><s>"


def test_bos_before_a_later_question_is_attended_to_where_it_is_not_the_padding(words, tokenizer):
    for known, seen in ((words, 1), (tokenizer, 0)):
        ids = [known.bos_token_id, 5, known.bos_token_id, 6]
        assert prompts.attended(ids, known.pad_token_id) == [1, 1, seen, 1]


def test_a_processor_pads_with_the_end_of_texts_and_stops_there(words, smoke: Config):
    made = build_processor(words, smoke.stage4.prompt, image_size=64, num_query_tokens=2, vocab_size=SLOT)
    batch = made.pad([[1, 7, 8], [1, 7]])
    assert batch["input_ids"].tolist() == [[1, 7, 8], [2, 1, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]
    assert made.end_ids == [prompts.end_mark_id(words, "###"), words.eos_token_id]


def test_ids_of_the_configuration_are_the_tokenizer_s(words, smoke: Config):
    text = smoke.model.text.model_copy(update={"architecture": "llama"})
    model = smoke.model.model_copy(update={"text": text})
    config = from_profile(model, words.eos_token_id, words.bos_token_id).text_config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 2)


def test_stand_ins_have_the_special_tokens_of_their_architecture(smoke: Config):
    llama = BY_NAME["llama"]
    made = train_tokenizer(["a red circle"], smoke.stage4.prompt, 300, llama.end_of_text, llama.begin_of_text)
    assert (made.bos_token, made.eos_token, made.pad_token) == ("<s>", "</s>", "</s>")
    assert made.bos_token_id != made.eos_token_id
    encoded = prompts.encode_text(made, "a</s>")
    assert made.eos_token_id not in encoded
    assert torch.tensor(encoded).max() < len(made)


def test_a_tokenizer_of_another_family_is_refused_in_one_line(tmp_path, tokenizer):
    theirs = write_llama_tokenizer(tmp_path / "llama.json")
    tokenizer.backend_tokenizer.save(str(tmp_path / "phi.json"))
    made = published_tokenizer(theirs, 400, BY_NAME["llama"])
    assert (made.bos_token_id, made.eos_token_id, made.pad_token_id) == (1, 2, 2)
    with pytest.raises(CheckpointError, match=r"llama.json has no token <\|endoftext\|>; it is not Phi's"):
        published_tokenizer(theirs, 400, BY_NAME["phi"])
    with pytest.raises(CheckpointError, match=r"phi.json has no token <s>; it is not Llama's"):
        published_tokenizer(tmp_path / "phi.json", 2000, BY_NAME["llama"])

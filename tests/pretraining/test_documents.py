"""Texts for the language model, and a tokenizer that can write any text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tinygptv.config import Config
from tinygptv.data import shards
from tinygptv.data.boxes import format_box, parse_box
from tinygptv.data.prompts import encode_text
from tinygptv.data.record_rules import BOX_TASKS
from tinygptv.ground.errors import DataError
from tinygptv.model.language.phi import TinyGPTVPhiForCausalLM
from tinygptv.model.profile import from_profile
from tinygptv.pretraining import language
from tinygptv.pretraining.documents import Described, Document, Documents, content_words, describe, move

BOX = re.compile(r"\{<\d+><\d+><\d+><\d+>\}")


@pytest.fixture(scope="module")
def images(small_shards: Path) -> list[Described]:
    return describe(shards.read_records(sorted(small_shards.glob("train-*.tar"))))


@pytest.fixture
def documents(images: list[Described], smoke: Config) -> Documents:
    return Documents(images, smoke.backbones.text, seed=5)


def written(document: Document) -> str:
    return "".join(text for text, _ in document)


def test_images_are_described_in_their_records_words(images: list[Described]) -> None:
    assert len(images) > 20
    for image in images:
        assert image.records["grounding"][0].turns[0].answer.endswith(format_box(image.box))
        assert image.records["caption"][0].turns[0].answer == image.caption


def test_a_task_that_no_image_has_is_refused_and_one_that_some_have_is_drawn_from_those(
    images: list[Described], smoke: Config
) -> None:
    without = [replace(image, records={"caption": image.records["caption"]}) for image in images]
    with pytest.raises(DataError, match="has a record of detection, grounding, identify, refer, vqa; take it out of"):
        Documents(without, smoke.backbones.text, seed=5)
    with pytest.raises(DataError, match="no training image with a caption and a box"):
        Documents([], smoke.backbones.text, seed=5)
    documents = Documents([*without, images[0]], smoke.backbones.text, seed=5)
    asked = {written(documents.draw("identify", brief=True)) for _ in range(9)}
    assert all(images[0].caption in text for text in asked)


def test_checks_are_answered_rightly_and_half_of_them_yes(documents: Documents, smoke: Config) -> None:
    said = []
    for _ in range(100):
        document = documents.draw("check", brief=True)
        words = content_words(document[0][0].partition("</Img>")[0].partition("<Img>")[2])
        assert len(document) == 2 * smoke.backbones.text.checks
        for (asked, learned_question), (answer, learned_answer) in zip(document[::2], document[1::2], strict=True):
            assert (learned_question, learned_answer) == (False, True)
            word = re.search(r"(\w+)\? ###Assistant: $", asked)
            assert word
            assert answer == ("yes###" if word[1] in words else "no###")
            said.append(answer)
    assert 0.5 < said.count("yes###") / len(said) < 0.75


@pytest.mark.parametrize("task", sorted(BOX_TASKS))
def test_boxes_are_the_same_in_all_parts_of_a_document(
    documents: Documents, images: list[Described], task: str
) -> None:
    seen = set()
    for _ in range(60):
        boxes = BOX.findall(written(documents.draw(task)))
        assert len(boxes) == 2, "one in the description, one in the question or the answer"
        assert len(set(boxes)) == 1
        assert parse_box(boxes[0]) is not None
        seen.add(boxes[0])
    assert len(seen) > 40, "boxes must move"


def test_brief_documents_have_boxes_only_where_the_task_needs_them(documents: Documents) -> None:
    assert all(not BOX.search(written(documents.draw(task, brief=True))) for task in ("vqa", "check") * 20)
    assert all(BOX.search(written(documents.draw(task))) for task in ("vqa", "check", "plain") * 20)
    assert all(documents.draw("vqa", brief=True)[0][0].count("[vqa] Based") == 0 for _ in range(20))


def test_plain_documents_end_as_stage_1_does(documents: Documents, smoke: Config) -> None:
    (given_text, first), (caption, second) = documents.draw("plain")
    assert (first, second) == (False, True)
    assert given_text.startswith(caption.removesuffix("\n"))
    assert caption.endswith(smoke.stage1.prompt.end_mark)


def test_reading_comes_first(images: list[Described], smoke: Config) -> None:
    settings = smoke.backbones.text.model_copy(
        update={"reading_mixture": {"check": 1.0}, "mixture": {"plain": 1.0}, "reading_steps": 2, "batch_size": 6}
    )
    drawn = Documents(images, settings, seed=1)
    batches = [drawn.batch(step) for step in range(4)]
    assert [{len(document) for document in batch} for batch in batches] == [{12}, {12}, {2}, {2}]
    assert [len(batch) for batch in batches] == [6] * 4
    again = Documents(images, settings, seed=1)
    assert [again.batch(step) for step in range(4)] == batches
    assert Documents(images, settings, seed=2).batch(0) != batches[0]


@given(st.tuples(*[st.integers(0, 99)] * 2), st.tuples(*[st.integers(1, 100)] * 2), st.integers(0, 2**32))
def test_moved_boxes_are_boxes(corner: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    (left, top), (width, height) = corner, size
    box = (left, top, min(100, left + width), min(100, top + height))
    moved = move(box, np.random.default_rng(seed))
    assert 0 <= moved[0] < moved[2] <= 100
    assert 0 <= moved[1] < moved[3] <= 100
    assert abs((moved[2] - moved[0]) - (box[2] - box[0])) <= 5
    assert abs((moved[3] - moved[1]) - (box[3] - box[1])) <= 5


@pytest.mark.parametrize("text", ["###", "###Human: ", " ###Assistant: ", "\n", *[f"<{mark}>" for mark in range(101)]])
def test_fixed_parts_are_single_tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert len(encode_text(tokenizer, text)) == 1


def test_a_box_is_six_tokens_and_keeps_them_in_a_sentence(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = encode_text(tokenizer, "{<10><20><30><100>}")
    assert [tokenizer.decode([token]) for token in ids] == ["{", "<10>", "<20>", "<30>", "<100>", "}"]
    sentence = encode_text(tokenizer, "[identify] what is it in {<10><20><30><100>} ###Assistant: ")
    assert ids[1:5] == [token for token in sentence if tokenizer.decode([token])[:1] == "<"]


@given(st.text(max_size=60))
def test_any_text_goes_round(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = encode_text(tokenizer, text)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.eos_token_id not in ids


def test_loss_weights_follow_the_document(tokenizer: PreTrainedTokenizerFast) -> None:
    documents: list[Document] = [[("a red", False), ("circle###", True)], [("a", True)]]
    input_BT, weight_BT = language.encode(tokenizer, documents, given_weight=0.25)
    given_ids, learned_ids = encode_text(tokenizer, "a red"), encode_text(tokenizer, "circle###")
    assert input_BT[0].tolist() == [tokenizer.bos_token_id, *given_ids, *learned_ids]
    assert weight_BT[0].tolist() == [0.0, *[0.25] * len(given_ids), *[1.0] * len(learned_ids)]
    assert weight_BT[1].tolist() == [0.0, 1.0, *[0.0] * (input_BT.shape[1] - 2)]
    assert input_BT[1, 2:].eq(tokenizer.pad_token_id).all()


def test_pretraining_lowers_the_loss_and_repeats_itself(
    images: list[Described], tokenizer: PreTrainedTokenizerFast, smoke: Config
) -> None:
    settings = smoke.backbones.text.model_copy(update={"steps": 16, "batch_size": 8, "reading_steps": 16})

    def run() -> list[float]:
        torch.manual_seed(0)
        model = TinyGPTVPhiForCausalLM(from_profile(smoke.model, tokenizer.eos_token_id).text_config)
        losses: list[float] = []
        drawn = Documents(images, settings, seed=1)
        language.pretrain(model, tokenizer, drawn, settings, lambda _, loss: losses.append(loss))
        return losses

    losses = run()
    assert len(losses) == 16
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 1.0
    assert run() == losses

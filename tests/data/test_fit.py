"""What a stage cuts is counted, whole characters at a time, and what does not fit it at all is found before a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tinygptv.config import Config, Stage
from tinygptv.data import fit
from tinygptv.data.batches import StageBatches
from tinygptv.data.order import Draw
from tinygptv.data.prompts import IGNORE_INDEX, encode_text, end_answer, whole_characters
from tinygptv.data.records import ImageInfo, ImageRecord, Record, Turn
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

TEXTS = (
    "caf\u00e9 au lait",
    "\u4e00\u4e8c\u4e09 \u56db",
    "\U0001f7e5\U0001f7e6 \U0001f469\u200d\U0001f4bb!",
    "\u0416\u03b1\u05d0",
    "plain",
)
END = 7


def image(key: str, *records: Record) -> ImageRecord:
    return ImageRecord(key, ImageInfo("a.png", 1, 1, "0" * 64), "s", "l", records)


@pytest.fixture
def stage(smoke: Config) -> Stage:
    return smoke.stage4.model_copy(update={"mixture": {"vqa": 1.0}})


@pytest.fixture
def batches(build: Any, images: list[ImageRecord]) -> Callable[..., StageBatches]:
    """``batches(stage, turns, ...)``: one vqa record for each tuple of turns."""

    def make(stage: Stage, *talks: tuple[Turn, ...]) -> StageBatches:
        records = [Record(f"talk-{number}", "vqa", turns) for number, turns in enumerate(talks)]
        made: StageBatches = build(stage, records=[image(images[0].key, *records)])
        return made

    return make


@pytest.mark.parametrize("text", TEXTS)
def test_a_cut_answer_ends_in_a_whole_character(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    tokens = len(encode_text(tokenizer, text))
    lengths = []
    for limit in range(1, tokens + 3):
        *ids, end = end_answer(tokenizer, encode_text(tokenizer, text), end_id=END, max_tokens=limit)
        kept = tokenizer.decode(ids)
        assert end == END and len(ids) < limit
        assert text.startswith(kept) and "\ufffd" not in kept
        lengths.append(len(kept))
    assert lengths == sorted(lengths)
    assert lengths[-1] == len(text)
    assert end_answer(tokenizer, encode_text(tokenizer, text), end_id=END, max_tokens=tokens + 1)[:-1] == encode_text(
        tokenizer, text
    )


def test_the_first_answer_is_cut_to_the_sequence_in_whole_characters(
    batches: Any, stage: Stage, tokenizer: PreTrainedTokenizerFast
) -> None:
    answer = "\U0001f7e5" * 20
    whole = batches(stage, (Turn("what?", answer),)).example(Draw("vqa", 0, 0))
    for limit in range(len(whole.input_ids) - 20, len(whole.input_ids)):
        short = stage.model_copy(update={"max_sequence_tokens": limit})
        sample = batches(short, (Turn("what?", answer),)).example(Draw("vqa", 0, 0))
        learned = [label for label in sample.labels if label != IGNORE_INDEX]
        assert len(sample.input_ids) <= limit
        assert answer.startswith(tokenizer.decode(learned[:-1]))
        assert sample.cut_answers == 1


def test_tokens_of_whole_characters_stay(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in TEXTS:
        assert whole_characters(tokenizer, encode_text(tokenizer, text)) == encode_text(tokenizer, text)
    assert whole_characters(tokenizer, []) == []


def test_an_answer_of_100_words_is_counted(batches: Any, stage: Stage) -> None:
    words = Turn("what?", "red " * 100)
    short = stage.model_copy(update={"max_answer_tokens": 48, "max_sequence_tokens": 256})
    found = batches(short, (Turn("a?", "yes"), words), (words,), (Turn("b?", "no"),)).check()
    assert found == {"vqa": {"answers": 4, "cut_answers": 2, "left_out_turns": 0}}
    assert batches(stage, (Turn("a?", "yes"),)).check()["vqa"]["cut_answers"] == 0


def test_the_counts_are_those_of_the_samples(batches: Any, stage: Stage) -> None:
    """Whatever the limits, the quick look counts what making every sample with every template would count."""
    talks = tuple(
        tuple(Turn(f"{text} {'why ' * n}?", text * (1 + n * k)) for n, text in enumerate(TEXTS[: 1 + k % 4]))
        for k in range(8)
    )
    seen = set()
    for answer_tokens in (2, 5, 9, 40):
        for sequence_tokens in (60, 75, 90, 120, 256):
            limits = {"max_answer_tokens": answer_tokens, "max_sequence_tokens": sequence_tokens}
            made = batches(stage.model_copy(update=limits), *talks)
            every = [
                [made.example(Draw("vqa", number, template)) for template in range(len(TEMPLATES["vqa"]))]
                for number in range(len(talks))
            ]
            cut = sum(max(sample.cut_answers for sample in samples) for samples in every)
            left = sum(max(sample.left_out_turns for sample in samples) for samples in every)
            turns = sum(map(len, talks))
            assert made.check() == {"vqa": {"answers": turns, "cut_answers": cut, "left_out_turns": left}}
            seen.add((bool(cut), bool(left)))
    assert len(seen) > 2


def test_short_texts_are_not_tokenised(batches: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def counter(_: Any) -> Callable[[str], int]:
        def count(text: str) -> int:
            raise AssertionError(text)

        return count

    made = batches(stage, (Turn("what is it?", "a red circle"),))
    monkeypatch.setattr(fit, "token_counter", counter)
    assert made.check()["vqa"]["answers"] == 1


@pytest.mark.parametrize("number", [1, 3, 20])
def test_questions_that_are_too_long_are_named_before_the_first_step(batches: Any, stage: Stage, number: int) -> None:
    long = (Turn("why " * 60 + "?", "yes"),)
    short = stage.model_copy(update={"max_sequence_tokens": 64})
    made = batches(short, (Turn("what?", "red"),), *[long] * number)
    with pytest.raises(DataError) as caught:
        made.check()
    message = str(caught.value)
    assert message.startswith(f"{number} records have a question that leaves no room for an answer: talk-1")
    assert ("and 12 more" in message) == (number == 20)
    assert "raise stage4.max_sequence_tokens from 64 to at least" in message
    needed = int(message.partition("at least ")[2].partition(",")[0])
    assert batches(short.model_copy(update={"max_sequence_tokens": needed}), *[long] * number).check()
    with pytest.raises(DataError):
        batches(short.model_copy(update={"max_sequence_tokens": needed - 1}), *[long] * number).check()


def test_an_image_without_features_is_named_before_the_first_step(build: Any, stage: Stage) -> None:
    record = Record("r", "vqa", (Turn("what?", "red"),))
    made = build(stage, records=[image("unknown-1", record), image("unknown-2", record)])
    with pytest.raises(DataError, match=r"no features of 2 images: unknown-1, unknown-2; run `dvc repro features`"):
        made.check()

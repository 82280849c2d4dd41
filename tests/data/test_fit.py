"""What a stage cuts is counted, whole characters at a time, and what does not fit it at all is found before a step."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.conftest import QUERIES, alone, pictured
from tinygptv.config import Config, Stage
from tinygptv.data import fit
from tinygptv.data.batches import StageBatches
from tinygptv.data.order import Draw
from tinygptv.data.prompts import IGNORE_INDEX, encode_text, end_answer, whole_characters
from tinygptv.data.records import Record, Turn
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


@pytest.fixture
def stage(smoke: Config) -> Stage:
    return smoke.stage4.model_copy(update={"mixture": {"easy_vqa/vqa": 1.0}})


@pytest.fixture
def batches(build: Any) -> Callable[..., StageBatches]:
    """``batches(stage, turns, ...)``: one vqa record for each tuple of turns."""

    def make(stage: Stage, *talks: tuple[Turn, ...]) -> StageBatches:
        records = [Record(f"talk-{number}", "vqa", turns) for number, turns in enumerate(talks)]
        made: StageBatches = build(stage, samples=[pictured(*records)])
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
    whole = batches(stage, (Turn("what?", answer),)).example(Draw("easy_vqa/vqa", 0, 0, 0))
    for limit in range(len(whole.input_ids) - 20, len(whole.input_ids)):
        short = stage.model_copy(update={"max_sequence_tokens": limit})
        sample = batches(short, (Turn("what?", answer),)).example(Draw("easy_vqa/vqa", 0, 0, 0))
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
    assert found == {"easy_vqa/vqa": {"answers": 4, "cut_answers": 2, "left_out_turns": 0, "unseen": 0}}
    assert batches(stage, (Turn("a?", "yes"),)).check()["easy_vqa/vqa"]["cut_answers"] == 0


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
                [made.example(Draw("easy_vqa/vqa", number, template, 0)) for template in range(len(TEMPLATES["vqa"]))]
                for number in range(len(talks))
            ]
            cut = sum(max(sample.cut_answers for sample in samples) for samples in every)
            left = sum(max(sample.left_out_turns for sample in samples) for samples in every)
            turns = sum(map(len, talks))
            assert made.check() == {
                "easy_vqa/vqa": {"answers": turns, "cut_answers": cut, "left_out_turns": left, "unseen": 0}
            }
            seen.add((bool(cut), bool(left)))
    assert len(seen) > 2


def test_short_texts_are_not_tokenised(batches: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def counter(_: Any) -> Callable[[str], int]:
        def count(text: str) -> int:
            raise AssertionError(text)

        return count

    made = batches(stage, (Turn("what is it?", "a red circle"),))
    monkeypatch.setattr(fit, "token_counter", counter)
    assert made.check()["easy_vqa/vqa"]["answers"] == 1


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


def test_the_longest_wording_of_a_question_counts(batches: Any, stage: Stage) -> None:
    long = "what " * stage.max_sequence_tokens
    with pytest.raises(DataError, match="leaves no room for an answer"):
        batches(stage, (Turn("what?", "red", (), ("what?", long)),)).check()


def test_the_longest_of_the_accepted_answers_counts(batches: Any, stage: Stage) -> None:
    accepted = (("red", 2.0), ("a very dark red, nearly brown, as of old bricks", 1.0))
    short = stage.model_copy(update={"max_answer_tokens": 6})
    assert batches(short, (Turn("what?", "red", accepted),)).check()["easy_vqa/vqa"]["cut_answers"] == 1
    assert batches(short, (Turn("what?", "red", accepted[:1]),)).check()["easy_vqa/vqa"]["cut_answers"] == 0


def test_texts_without_an_image_and_whole_sets_are_counted(build: Any, stage: Stage) -> None:
    talks = [alone(Record(f"t{i}", "conversation", (Turn("say it", "word " * 5 * i),))) for i in range(1, 9)]
    both = [pictured(Record("a", "vqa", (Turn("what?", "red " * 30),)), Record("b", "caption", (Turn("", "red"),)))]
    mixture = {"mixture": {"talks": 1.0, "easy_vqa": 1.0}, "max_answer_tokens": 24}
    made = build(stage.model_copy(update=mixture), samples=[*both, *talks])
    every = [made.example(Draw("talks", number, 0, 0)) for number in range(8)]
    cut = sum(sample.cut_answers for sample in every)
    found = made.check()
    assert 0 < cut < 8 and found["talks"] == dict(zip(fit.COUNTS, (8, cut, 0, 0), strict=True))
    assert found["easy_vqa"] == dict(zip(fit.COUNTS, (2, 1, 0, 0), strict=True))


def test_of_many_records_in_doubt_some_are_looked_at(
    batches: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the counts are in proportion, the same every time; a question that is too long is found all the same."""
    long, short = (Turn("what?", "red " * 60),), (Turn("what?", "extraordinarily bright"),)
    talks = [*[long] * 150, *[short] * 150]
    narrow = stage.model_copy(update={"max_answer_tokens": 20})
    exact = batches(narrow, *talks).check()["easy_vqa/vqa"]
    monkeypatch.setattr(fit, "LOOKED_AT", 100)
    first, second = (batches(narrow, *talks).check()["easy_vqa/vqa"] for _ in range(2))
    assert exact == dict(zip(fit.COUNTS, (300, 150, 0, 0), strict=True))
    assert first == second
    assert first["unseen"] == 200 and first["answers"] == 300
    assert first["cut_answers"] != 150 and first["cut_answers"] == pytest.approx(150, abs=40)
    with pytest.raises(DataError, match=r"^1 records have a question that leaves no room"):
        batches(narrow, *talks, (Turn("why " * 200, "yes"),)).check()


@pytest.mark.parametrize("seed", range(12))
def test_what_the_columns_settle_is_so(build: Any, stage: Stage, seed: int) -> None:
    """Records that are not in doubt are neither cut nor refused, by any template; hostile marks included."""
    source = random.Random(seed)

    def text() -> str:
        parts = ("a", "b ", "###", "<ImageHere>", "#", "<|endoftext|>", "\u00e9", "why ", "><")
        return "".join(source.choices(parts, k=source.randint(1, 6)))

    talks = [[Turn(text(), text()) for _ in range(source.randint(1, 3))] for _ in range(30)]
    limits = {"max_answer_tokens": source.randint(2, 20), "max_sequence_tokens": source.randint(60, 160)}
    limited = stage.model_copy(update=limits)
    records = [Record(f"talk-{number}", "vqa", tuple(turns)) for number, turns in enumerate(talks)]
    made = build(limited, samples=[pictured(*records)])
    entry = made.entries["easy_vqa/vqa"]
    answers, doubts = fit.settle(entry.index, entry.rows, "vqa", limited, QUERIES)
    assert answers == sum(map(len, talks))
    kinds = doubts.question.tolist(), doubts.sequence.tolist(), doubts.answer.tolist()
    open_rows = [row for kind in kinds for row in kind]
    assert len(set(open_rows)) == len(open_rows)
    for row in set(entry.rows) - set(doubts.question.tolist()):
        for template in range(len(TEMPLATES["vqa"])):
            sample = made.example(Draw("easy_vqa/vqa", row - entry.rows.start, template, 0))
            assert row in open_rows or sample.cut_answers == sample.left_out_turns == 0


def test_features_of_other_shards_are_refused_before_the_first_step(build: Any, stage: Stage) -> None:
    records = [Record("r", "vqa", (Turn("what?", answer),)) for answer in ("red", "blue")]
    first, second = (build(stage, samples=[pictured(record)]) for record in records)
    second._features = first._features
    with pytest.raises(DataError, match=r"train-000000.* is not of the shards that are there; run `dvc"):
        second.check()

"""Training batches: what is learned, what is masked, and the same ones every time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.data.conftest import QUERIES, SLOT, WIDTH, alone, pictured
from tests.data.texts import HARMLESS
from tinygptv.config import Config, Stage
from tinygptv.data.batches import StageBatches
from tinygptv.data.marks import IMAGE_MARK
from tinygptv.data.order import Draw, SampleOrder
from tinygptv.data.prompts import IGNORE_INDEX, Example, end_mark_id, prompt_text
from tinygptv.data.records import ImageRecord, Record, Turn
from tinygptv.data.tasks import instruction, record_task
from tinygptv.evaluation.answering import prompt_ids
from tinygptv.evaluation.package import package_asking
from tinygptv.evaluation.presets import stage_asking
from tinygptv.evaluation.questions import Question
from tinygptv.ground.errors import DataError
from tinygptv.model.processing import build_processor


def first_example(batches: StageBatches) -> Example:
    return batches.example(batches.order.draws(0)[0])


def fields(batches: StageBatches, step: int) -> list[tuple[Any, ...]]:
    return [
        (b.record_ids, *(t.tolist() for t in (b.input_ids, b.attention_mask, b.labels, b.image_features)))
        for b in batches.batch(step)
    ]


def test_a_step_is_cut_into_micro_batches_in_order(build: Any, smoke: Config) -> None:
    batches = build()
    micro = batches.batch(2)
    size = smoke.stage4.batch_size
    assert isinstance(size, int)
    assert [len(batch.record_ids) for batch in micro] == [smoke.stage4.micro_batch_size] * 8
    flat = [record for batch in micro for record in batch.record_ids]
    assert flat == [batches.example(batches.order.draws(2 * size + i)[0]).record_id for i in range(size)]


def test_batches_are_a_function_of_seed_and_step(build: Any) -> None:
    first, second = build(), build()
    backwards = {step: fields(first, step) for step in (4, 0, 2)}
    assert all(fields(second, step) == backwards[step] for step in (0, 2, 4))
    assert fields(build(seed=4), 0) != backwards[0]


def test_every_sample_is_its_prompt_and_its_answer(
    build: Any, images: list[ImageRecord], tokenizer: PreTrainedTokenizerFast, smoke: Config
) -> None:
    stage, batches = smoke.stage4, build()
    by_id = {record.id: (i, record) for i, image in enumerate(images) for record in image.records}
    order: SampleOrder = batches.order
    tasks = set()
    k = 0
    for step in range(4):
        for batch in batches.batch(step):
            for row, record_id in enumerate(batch.record_ids):
                image, record = by_id[record_id]
                (draw,) = order.draws(k)
                k += 1
                tasks.add(draw.entry)
                family = draw.entry.removeprefix("easy_vqa/")
                assert record.task == record_task(family)
                ids = batch.input_ids[row][batch.attention_mask[row].bool()].tolist()
                labels_T = batch.labels[row]
                turn = record.turns[0]
                assert ids[0] == tokenizer.bos_token_id
                slots = [i for i, token in enumerate(ids) if token == SLOT]
                assert slots == list(range(slots[0], slots[0] + QUERIES))
                read = tokenizer.decode(ids[1 : slots[0]]) + IMAGE_MARK + tokenizer.decode(ids[slots[-1] + 1 :])
                prompt = prompt_text(stage.prompt, instruction(family, turn.question, draw.template))
                assert read == prompt + turn.answer + "###"
                learned = labels_T != IGNORE_INDEX
                assert tokenizer.decode(labels_T[learned]) == turn.answer + "###"
                assert torch.equal(labels_T[learned], batch.input_ids[row][learned])
                assert learned.nonzero().flatten().tolist() == list(range(len(ids) - int(learned.sum()), len(ids)))
                assert batch.image_features[row].eq(image).all()
    assert tasks == set(stage.mixture)


def test_padding_is_on_the_right_and_carries_nothing(build: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    batch = build().batch(0)[0]
    padding_BT = batch.attention_mask == 0
    assert padding_BT.any()
    assert (batch.attention_mask.diff(dim=1) <= 0).all()
    assert batch.input_ids[padding_BT].eq(tokenizer.pad_token_id).all()
    assert batch.labels[padding_BT].eq(IGNORE_INDEX).all()
    assert batch.target_tokens == int(batch.labels.ne(IGNORE_INDEX).sum()) > 0


def test_captions_without_a_prompt_follow_the_image(
    build: Any, smoke: Config, tokenizer: PreTrainedTokenizerFast
) -> None:
    example = first_example(build(smoke.stage1))
    assert example.input_ids[: 1 + QUERIES] == [tokenizer.bos_token_id, *[SLOT] * QUERIES]
    answer = tokenizer.decode(example.input_ids[1 + QUERIES :])
    assert answer.startswith("a ")
    assert answer.endswith("\n")
    assert example.labels == [IGNORE_INDEX] * (1 + QUERIES) + example.input_ids[1 + QUERIES :]


def test_alignment_asks_for_captions(build: Any, smoke: Config, tokenizer: PreTrainedTokenizerFast) -> None:
    batches = build(smoke.stage3)
    texts = [
        tokenizer.decode([t for t in batches.example(batches.order.draws(k)[0]).input_ids if t != SLOT])
        for k in range(20)
    ]
    assert all("###Human: <Img></Img> " in text for text in texts)
    assert len({text.partition("</Img> ")[2].partition(" ###")[0] for text in texts}) == 4


def test_turns_are_one_sequence_and_every_answer_is_learned(
    build: Any, images: list[ImageRecord], smoke: Config, tokenizer: PreTrainedTokenizerFast
) -> None:
    turns = Turn("what colour?", "red"), Turn("what shape?", "circle")
    talk = pictured(Record("talk", "vqa", turns))
    example = first_example(build(smoke.stage4.model_copy(update={"mixture": {"easy_vqa/vqa": 1.0}}), samples=[talk]))
    assert example.input_ids.count(SLOT) == QUERIES
    assert example.input_ids.count(tokenizer.bos_token_id) == 1
    text = tokenizer.decode([token for token in example.input_ids[1:] if token != SLOT])
    assert text.count("###Human: ") == 2
    assert text.endswith("what shape? ###Assistant: circle###")
    learned = tokenizer.decode([label for label in example.labels if label != IGNORE_INDEX])
    assert learned == "red###circle###"


def test_the_mixing_is_told(build: Any, smoke: Config) -> None:
    stage = smoke.stage4.model_copy(
        update={"mixture": {"easy_vqa/vqa": 3.0, "easy_vqa/align": 1.0}, "steps_per_epoch": 5, "epochs": 2}
    )
    batches = build(stage)
    seen = Counter(draw.entry for step in range(stage.steps) for draw in batches.draws(step))
    header, vqa, align = (line.split() for line in batches.mixing().splitlines())
    assert header == ["data", "set", "records", "weight", "share", "passes"]
    assert vqa[0] == "easy_vqa/vqa" and vqa[2:4] == ["3", "75.00%"] and align[2:4] == ["1", "25.00%"]
    for name, records, _, _, passes in (vqa, align):
        assert float(passes) == pytest.approx(seen[name] / int(records), abs=0.006)


@pytest.mark.drill(17, "no text of a record makes an image slot or ends a turn")
@pytest.mark.parametrize("text", HARMLESS, ids=lambda text: ascii(text)[:20])
def test_no_text_of_a_record_opens_a_slot_or_ends_a_turn(
    build: Any, images: list[ImageRecord], smoke: Config, tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    turns = (Turn(f"what? {text}", f"this {text}"), Turn(text, text))
    talk = pictured(Record("talk", "vqa", turns))
    room = {"max_answer_tokens": 100_000, "max_sequence_tokens": 100_000}
    stage = smoke.stage4.model_copy(update={"mixture": {"easy_vqa/vqa": 1.0}, **room})
    sample = build(stage, samples=[talk]).example(Draw("easy_vqa/vqa", 0, 0, 0))
    ids, end = sample.input_ids, end_mark_id(tokenizer, stage.prompt.end_mark)
    assert ids.count(SLOT) == QUERIES
    assert sum(label == end for label in sample.labels) == len(turns)
    ends = [place for place, learned in enumerate(sample.labels) if learned == end]
    assert all(place + 1 == len(ids) or sample.labels[place + 1] == IGNORE_INDEX for place in ends)
    assert ids.count(tokenizer.eos_token_id) == ids.count(tokenizer.bos_token_id) == stage.prompt.bos_in_training
    shown = tokenizer.decode([i for i in ids if i != SLOT], clean_up_tokenization_spaces=False).replace(" ", "")
    assert shown.count(text.replace(" ", "")) == 4, "but for spaces, every text is there as it was written"


@pytest.mark.parametrize(("longest", "bos"), [(256, False), (3, False), (256, True)])
def test_evaluation_asks_a_conversation_as_it_is_trained(
    build: Any,
    images: list[ImageRecord],
    smoke: Config,
    tokenizer: PreTrainedTokenizerFast,
    longest: int,
    bos: bool,
) -> None:
    """The prompt of each turn is the beginning of the training sequence, token by token, in both ways of asking."""
    turns = (
        Turn("what colour is it?", "a dark red #"),
        Turn("# and its shape?", "circle, as round as a ball"),
        Turn("?", "yes"),
        Turn("is there an Übermaß of 🟥?", "no ### yes"),
        Turn("and <ImageHere> ###?", "<ImageHere>\t"),
    )
    talk = pictured(Record("talk", "vqa", turns))
    prompt = smoke.stage4.prompt.model_copy(update={"bos_between_turns": bos})
    changed = {"mixture": {"easy_vqa/vqa": 1.0}, "max_answer_tokens": longest, "prompt": prompt}
    stage = smoke.stage4.model_copy(update=changed)
    trained = build(stage, samples=[talk]).example(Draw("easy_vqa/vqa", 0, 0, 0))
    learned = [label != IGNORE_INDEX for label in trained.labels]
    starts = [place for place, now in enumerate(learned) if now and not learned[place - 1]]
    processor = build_processor(tokenizer, stage.prompt, image_size=32, num_query_tokens=QUERIES, vocab_size=SLOT)
    profile = smoke.model_copy(update={"stage4": stage})
    of_whom = {"dataset": "easy_vqa", "key": talk.key, "record": "talk", "task": "vqa", "benchmark": "easy_vqa"}
    assert len(starts) == len(turns)
    assert trained.input_ids.count(tokenizer.bos_token_id) == (len(turns) if bos else 1)
    for place, (turn, start) in enumerate(zip(turns, starts, strict=True)):
        question = Question(**of_whom, content=turn.question, truth=turn.answer, type="", earlier=turns[:place])
        for how in (stage_asking(profile, "stage4", "as_trained"), package_asking(profile, "as_trained")):
            asked = prompt_ids(processor, question, instruction("vqa", question.content), how)
            assert asked == trained.input_ids[:start]


def test_long_answers_are_cut_but_end(build: Any, smoke: Config, tokenizer: PreTrainedTokenizerFast) -> None:
    short = smoke.stage4.model_copy(update={"max_answer_tokens": 2, "mixture": {"easy_vqa/grounding": 1.0}})
    labels = [label for label in first_example(build(short)).labels if label != IGNORE_INDEX]
    assert len(labels) == 2
    assert tokenizer.decode(labels[-1:]) == "###"


def test_turns_beyond_the_longest_sequence_are_left_out(
    build: Any, images: list[ImageRecord], smoke: Config, tokenizer: PreTrainedTokenizerFast
) -> None:
    turns = Turn("what is it?", "a red circle"), Turn("what shape?", "circle"), Turn("is it red?", "yes")
    talk = pictured(Record("talk", "vqa", turns))
    stage = smoke.stage4.model_copy(update={"mixture": {"easy_vqa/vqa": 1.0}})

    def example(limit: int) -> Example:
        return first_example(build(stage.model_copy(update={"max_sequence_tokens": limit}), samples=[talk]))

    whole = example(256)
    without_last = example(len(whole.input_ids) - 1)
    assert (
        tokenizer.decode([label for label in without_last.labels if label != IGNORE_INDEX])
        == "a red circle###circle###"
    )
    assert without_last.input_ids == whole.input_ids[: len(without_last.input_ids)]
    question = without_last.labels.index(without_last.labels[-1])  # where the first answer's end mark stands
    cut = example(question)
    assert len(cut.input_ids) == question
    assert tokenizer.decode(cut.labels[-1:]) == "###"
    with pytest.raises(DataError, match="talk"):
        example(QUERIES)


def texts(batches: StageBatches, tokenizer: PreTrainedTokenizerFast, count: int) -> list[str]:
    """What the first samples say, without their image slots."""
    samples = (batches.example(batches.order.draws(k)[0]) for k in range(count))
    return [tokenizer.decode([t for t in sample.input_ids[1:] if t != SLOT]) for sample in samples]


def mixed_samples() -> list[ImageRecord]:
    """Records of three tasks, one of them without images, in one set."""
    records = [
        Record(f"{i}-{task}", task, (Turn(f"{task} of {i}?", f"answer {i}"),))
        for i in range(6)
        for task in ("vqa", "conversation")
    ]
    samples = [pictured(*records[i : i + 2], number=i) for i in range(0, 12, 2)]
    return samples + [
        alone(Record(f"text-{i}", "conversation", (Turn(f"text {i} ?", "so"),)), dataset="easy_vqa") for i in range(6)
    ]


def stage_of(stage: Stage, mixture: dict[str, float], **changes: Any) -> Stage:
    return stage.model_copy(update={"mixture": mixture, **changes})


def test_a_whole_set_is_asked_by_the_instructions_of_each_task(
    build: Any, smoke: Config, tokenizer: PreTrainedTokenizerFast
) -> None:
    stage = stage_of(smoke.stage4, {"easy_vqa": 1.0}, steps_per_epoch=1, batch_size=18, micro_batch_size=18)
    said = texts(build(stage, samples=mixed_samples()), tokenizer, 18)
    for i in range(6):
        assert sum(f"###Human: <Img></Img> [vqa] vqa of {i}? ###" in t or f": vqa of {i}? ###" in t for t in said) == 1
        assert f"###Human: <Img></Img> conversation of {i}? ###Assistant: answer {i}###" in said
        assert f"###Human: text {i} ? ###Assistant: so###" in said


def test_a_set_may_name_the_instructions_that_all_its_records_are_asked_by(
    build: Any, smoke: Config, tokenizer: PreTrainedTokenizerFast
) -> None:
    stage = stage_of(smoke.stage4, {"easy_vqa": 1.0}, steps_per_epoch=1, batch_size=18, micro_batch_size=18)
    said = texts(build(stage, samples=mixed_samples(), templates="conversation"), tokenizer, 18)
    assert not any("[vqa]" in text for text in said)
    only = stage_of(stage, {"easy_vqa/conversation": 1.0})
    assert not any("vqa of" in text for text in texts(build(only, samples=mixed_samples()), tokenizer, 18))


def test_texts_without_an_image_have_no_slots_and_no_features(build: Any, smoke: Config) -> None:
    """In batches of both kinds the features are those of the samples with images, in their order."""
    stage = stage_of(smoke.stage4, {"easy_vqa": 1.0}, steps_per_epoch=3, batch_size=6, micro_batch_size=3)
    batches = build(stage, samples=mixed_samples())
    counts = set()
    for step in range(3):
        for batch in batches.batch(step):
            slots = (batch.input_ids == SLOT).sum(dim=1).tolist()
            assert slots == [0 if record.startswith("text") else QUERIES for record in batch.record_ids]
            expected = [float(record.partition("-")[0]) for record in batch.record_ids if not record.startswith("text")]
            assert batch.image_features[:, 0, 0].tolist() == expected
            assert batch.image_features.shape == (len(expected), QUERIES, WIDTH)
            counts.add(len(expected))
    assert len(counts) > 1
    only = build(stage_of(stage, {"talks": 1.0}), samples=[alone(Record("t", "conversation", (Turn("hi", "ho"),)))])
    assert only.batch(0)[0].image_features.shape == (0, QUERIES, WIDTH)
    only.check()


def test_of_several_accepted_answers_each_is_drawn_as_often_as_it_weighs(build: Any, smoke: Config) -> None:
    accepted = (("red", 6.0), ("dark red", 3.0), ("crimson", 1.0))
    turns = Turn("colour?", "red", accepted), Turn("again?", "red", accepted), Turn("shape?", "circle")
    batches = build(stage_of(smoke.stage4, {"easy_vqa/vqa": 1.0}), samples=[pictured(Record("r", "vqa", turns))])
    draws = [batches.order.draws(k)[0] for k in range(3000)]
    said = [[answer(batches, draw, i) for i in range(3)] for draw in draws]
    assert {answers[2] for answers in said} == {"circle"}
    for i in (0, 1):
        share = Counter(answers[i] for answers in said)
        for text, weight in accepted:
            assert share[text] / 3000 == pytest.approx(weight / 10, abs=0.04)
    both = Counter((answers[0], answers[1]) for answers in said)
    assert both["red", "crimson"] / 3000 == pytest.approx(0.06, abs=0.02), "each turn has a draw of its own"


def test_of_several_wordings_of_a_question_each_is_drawn_as_often(build: Any, smoke: Config) -> None:
    turn = Turn("colour?", "red", (("red", 1.0), ("dark red", 1.0)), ("colour?", "which one?", "what is it?"))
    batches = build(stage_of(smoke.stage4, {"easy_vqa/vqa": 1.0}), samples=[pictured(Record("r", "vqa", (turn,)))])
    draws = [batches.order.draws(k)[0] for k in range(3000)]
    asked = [batches._tokenizer.decode(batches.example(draw).input_ids) for draw in draws]
    found = Counter(
        (wording, answer(batches, draw, 0))
        for draw, text in zip(draws, asked, strict=True)
        for wording in turn.wordings
        if text.count(f" {wording} ") or text.count(f" {wording}#")
    )
    assert sum(found.values()) == 3000
    for wording in turn.wordings:
        for text in ("red", "dark red"):
            assert found[wording, text] / 3000 == pytest.approx(1 / 6, abs=0.03), "independent of the answer"


def answer(batches: StageBatches, draw: Draw, turn: int) -> str:
    ends = [i for i, label in enumerate(batches.example(draw).labels) if label != IGNORE_INDEX]
    groups: list[list[int]] = []
    for place in ends:
        if not groups or place != groups[-1][-1] + 1:
            groups.append([])
        groups[-1].append(place)
    ids = batches.example(draw).input_ids
    text = batches._tokenizer.decode([ids[place] for place in groups[turn]])
    return text.removesuffix("###")


def test_a_set_that_has_nothing_to_train_on_is_named(build: Any, smoke: Config) -> None:
    for entry in ("cats", "easy_vqa/conversation"):
        with pytest.raises(DataError, match=f"stage4.mixture names {entry}, but the shards have no such training"):
            build(stage_of(smoke.stage4, {entry: 1.0}))

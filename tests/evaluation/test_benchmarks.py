"""Question lists and baselines, on the real easy-VQA package."""

from collections import Counter

import easy_vqa
import pytest

from tinygptv.data.records import ImageInfo, ImageRecord, Record, Turn
from tinygptv.evaluation.benchmarks import (
    Baselines,
    best_constant_box,
    evenly_spaced,
    fit_baselines,
    is_right,
    list_questions,
    score,
    score_by_type,
)


def as_samples(questions):
    """The package's question lists as samples, one record a question; every image gets one box and caption."""
    images: dict[int, list[Record]] = {}
    for number, (text, answer, image) in enumerate(zip(*questions, strict=True)):
        records = images.setdefault(
            image,
            [
                Record(f"{image}-r", "refer", (Turn("red circle", "{<10><10><50><50>}"),), ((10, 10, 50, 50),)),
                Record(f"{image}-c", "caption", (Turn("", "a red circle"),)),
            ],
        )
        records.append(Record(f"{image}-{number}", "vqa", (Turn(text, answer),)))
    info = ImageInfo("x.png", 64, 64, "0" * 64)
    return [ImageRecord(str(key), info, "easy-vqa", "MIT", tuple(records)) for key, records in images.items()]


@pytest.fixture(scope="module")
def questions():
    return list_questions(as_samples(easy_vqa.get_test_questions()))


@pytest.fixture(scope="module")
def baselines() -> Baselines:
    train = as_samples(easy_vqa.get_train_questions())
    return fit_baselines(record for sample in train for record in sample.records)


def test_the_baselines_of_the_package_are_the_known_ones(questions, baselines):
    right = [question.truth for question in questions]
    entries = score(questions, right, baselines)
    assert set(entries) == {"easy_vqa", "easy_vqa_refer", "easy_vqa_caption"}
    entry = entries["easy_vqa"]
    assert baselines.majority == "yes"
    assert (entry["n"], entry["value"]) == (9673, 1.0)
    assert round(entry["majority"], 4) == 0.3733
    assert round(entry["blind"], 4) == 0.6700
    assert entry["trivial"] is None
    assert entries["easy_vqa_refer"]["trivial"] == 1.0
    assert entries["easy_vqa_refer"]["majority"] is None


def test_types_divide_the_questions(questions, baselines):
    vqa = [question for question in questions if question.task == "vqa"]
    answers = [question.truth if question.type == "what-shape" else "maybe" for question in vqa]
    by_type = score_by_type(vqa, answers, baselines)
    assert set(by_type) == {"what-shape", "what-colour", "yes/no-shape", "yes/no-colour"}
    assert {kind: entry["n"] for kind, entry in by_type.items()} == {
        "what-shape": 1257,
        "what-colour": 1280,
        "yes/no-shape": 1935,
        "yes/no-colour": 5201,
    }
    assert [kind for kind, entry in by_type.items() if entry["value"] == 1.0] == ["what-shape"]


def test_the_subset_is_spread_and_the_same_each_time(questions):
    subset = evenly_spaced(questions, 100)
    assert Counter(question.task for question in subset) == {"vqa": 100, "refer": 100, "caption": 100}
    assert subset == evenly_spaced(questions, 100)
    assert len(set(subset)) == 300
    images = [int(question.key) for question in subset if question.task == "refer"]
    assert images == list(range(0, 1000, 10))
    assert sorted(map(str, evenly_spaced(questions, 10**6))) == sorted(map(str, questions))


def test_a_record_of_several_turns_asks_several_questions():
    turns = (Turn("is there a circle?", "no"), Turn("what color is the shape?", "red"))
    sample = ImageRecord("k", ImageInfo("k.png", 1, 1, "0" * 64), "s", "l", (Record("r", "vqa", turns),))
    assert [(q.content, q.truth, q.type) for q in list_questions([sample])] == [
        ("is there a circle?", "no", "yes/no-shape"),
        ("what color is the shape?", "red", "what-colour"),
    ]
    assert [q.earlier for q in list_questions([sample])] == [(), turns[:1]]
    assert list_questions([sample], ["refer"]) == []


def test_ties_go_to_the_first_and_unseen_questions_to_the_majority(questions, baselines):
    records = [
        Record("a", "vqa", (Turn("q", "b"), Turn("q", "a"), Turn("p", "c"), Turn("p", "c"))),
        Record("r", "refer", (Turn("x", "{<0><0><100><100>}"),)),
        Record("c", "caption", (Turn("", "a shape"),)),
    ]
    fitted = fit_baselines(records)
    assert fitted.blind == {"q": "b", "p": "c"}
    assert fitted.question_only(questions[-1]) == "c"


def test_without_training_records_a_task_has_no_baseline(questions):
    fitted = fit_baselines([Record("r", "refer", (Turn("x", "somewhere"),))])
    assert (fitted.majority, fitted.blind, fitted.box, fitted.caption) == (None, {}, None, None)
    entries = score(questions, [question.truth for question in questions], fitted)
    assert {(e["value"], e["majority"], e["blind"], e["trivial"]) for e in entries.values()} == {
        (1.0, None, None, None)
    }
    blind = fit_baselines([Record("v", "vqa", (Turn("never asked", "yes"),))])
    assert score(questions, [question.truth for question in questions], blind)["easy_vqa"]["blind"] is not None


def test_no_questions_no_entries(baselines):
    assert score([], [], baselines) == {}
    assert score_by_type([], [], baselines) == {}


def test_a_truth_that_is_no_box_is_compared_as_text():
    two = "{<1><1><5><5>} {<6><6><9><9>}"
    (question,) = list_questions(
        [ImageRecord("k", ImageInfo("k.png", 1, 1, "0" * 64), "s", "l", (Record("r", "refer", (Turn("cats", two),)),))]
    )
    assert is_right(question, two)
    assert not is_right(question, "{<1><1><5><5>}")


def test_the_constant_box_is_the_best_candidate():
    # The medians give (20, 20, 30, 30), which is right twice; the square of 20 in the centre is right three times.
    boxes = {(40, 40, 60, 60): 3, (0, 0, 10, 10): 2, (20, 20, 30, 30): 2}
    assert best_constant_box(Counter(boxes)) == (40, 40, 60, 60)
    assert best_constant_box(Counter({(0, 0, 90, 100): 2})) == (0, 0, 100, 100)
    assert best_constant_box(Counter({(10, 20, 30, 40): 1})) == (10, 20, 30, 40)


def test_boxes_are_judged_by_overlap_and_words_by_equality(questions):
    refer, caption = (next(q for q in questions if q.task == task) for task in ("refer", "caption"))
    assert is_right(refer, "{<10><10><50><49>}")
    assert not is_right(refer, "it is {<10><10><50><50>}")
    assert not is_right(caption, "A red circle")


def test_every_question_needs_an_answer(questions, baselines):
    with pytest.raises(ValueError, match="1 answers"):
        score(questions, ["yes"], baselines)

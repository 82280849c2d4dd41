"""easy-VQA's benchmark on the real package: the known baselines, and questions told apart."""

from dataclasses import replace

import easy_vqa
import pytest

from tinygptv.data.records import ImageInfo, ImageRecord, Record, Turn
from tinygptv.evaluation.baselines import Baselines, TrainingAnswers
from tinygptv.evaluation.benchmarks.easy_vqa import SUITE, question_type
from tinygptv.evaluation.questions import list_questions
from tinygptv.evaluation.scores import score, score_by_type


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
    return [
        ImageRecord(str(key), info, "easy-vqa", "MIT", tuple(replace(record, dataset="pictures") for record in records))
        for key, records in images.items()
    ]


@pytest.fixture(scope="module")
def questions():
    return list_questions(as_samples(easy_vqa.get_test_questions()), {"pictures": SUITE})


@pytest.fixture(scope="module")
def baselines() -> Baselines:
    answers = TrainingAnswers()
    answers.add(record for sample in as_samples(easy_vqa.get_train_questions()) for record in sample.records)
    return answers.baselines()


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


@pytest.mark.parametrize(
    ("question", "truth", "expected"),
    [
        ("what is the red shape?", "triangle", "what-shape"),
        ("what shape is present?", "circle", "what-shape"),
        ("what color is the circle?", "teal", "what-colour"),
        ("is no triangle present?", "no", "yes/no-shape"),
        ("is there not a gray shape?", "yes", "yes/no-colour"),
        ("is it raining?", "yes", "other"),
    ],
)
def test_question_types(question, truth, expected):
    assert question_type(question, {"answer": truth}) == expected

"""easy-VQA's benchmark on the real package: the known baselines, and questions told apart."""

import easy_vqa
import pytest

from tests.evaluation.asked import ASKS, question, said
from tinygptv.evaluation.baselines import choose
from tinygptv.evaluation.benchmarks.easy_vqa import question_type
from tinygptv.evaluation.scores import Judge


def listed(questions):
    """The package's question lists; every image gets one box and caption."""
    found, seen = [], set()
    for text, answer, image in zip(*questions, strict=True):
        number = int(image) % 256
        if image not in seen:
            seen.add(image)
            found.append(question("refer", "red circle", "{<10><10><50><50>}", image=number))
            found.append(question("caption", "", "a red circle", image=number))
        found.append(question("vqa", text, answer, image=number))
    return found


@pytest.fixture(scope="module")
def questions():
    return listed(easy_vqa.get_test_questions())


@pytest.fixture(scope="module")
def baselines(questions):
    return choose(ASKS, [], questions, listed(easy_vqa.get_train_questions()), [])[1]


def judged(questions, baselines, answer=lambda question: question.truth):
    judge = Judge(ASKS, baselines, "as_trained")
    for asked in questions:
        judge.add(asked, said(answer(asked)))
    return judge.result()


def test_the_baselines_of_the_package_are_the_known_ones(questions, baselines):
    entries = judged(questions, baselines)["benchmarks"]
    assert set(entries) == {"easy_vqa", "easy_vqa_refer", "easy_vqa_caption"}
    entry = entries["easy_vqa"]
    assert baselines["easy_vqa"].constant == "yes"
    assert (entry["n"], entry["value"]) == (9673, 1.0)
    assert round(entry["majority"], 4) == 0.3733
    assert round(entry["blind"], 4) == 0.6700
    assert entry["trivial"] is None
    assert entries["easy_vqa_refer"]["trivial"] == 1.0
    assert entries["easy_vqa_refer"]["majority"] is None


def test_types_divide_the_questions(questions, baselines):
    vqa = [asked for asked in questions if asked.task == "vqa"]
    by_type = judged(vqa, baselines, lambda asked: asked.truth if asked.type == "what-shape" else "maybe")["by_type"]
    assert list(by_type) == ["what-shape", "what-colour", "yes/no-shape", "yes/no-colour"]
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

"""VQA v2, OK-VQA and TextVQA, from official files and files of predictions to their numbers."""

from __future__ import annotations

import pytest

from tests.data.formats.vqa_files import annotation, annotations_file, write
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.evaluation.score_files import score_files
from tinygptv.ground.errors import DataError

YES = ["yes"] * 8 + ["no"] * 2


@pytest.fixture
def scored(tmp_path):
    """Score (answers of the people, prediction) one after the other."""

    def score(name, *questions, **fields):
        answers, predictions = [], []
        for number, (people, said) in enumerate(questions, start=1):
            answers.append(annotation(number, people, image=number, **fields))
            predictions.append({"question_id": number, "answer": said})
        path = annotations_file(tmp_path, answers)
        return score_files(name, [path], write(tmp_path / "predictions.json", predictions))

    return score


@pytest.mark.parametrize(
    ("people", "said", "vqa", "textvqa"),
    [
        (YES, "yes", 1.0, 1.0),
        (YES, "no", 0.6, 0.6),
        (["black"] * 10, "Black.", 0.0, 1.0),
        (["the cat"] * 10, "the cat", 1.0, 1.0),
        (["t-shirt"] * 10, "t-shirt", 1.0, 1.0),
        (["none"] * 9 + ["zero"], "0", 1.0, 1.0),
        (["yes"] * 10, "", 0.0, 0.0),
        (["🙂"] * 10, "🙂", 1.0, 1.0),
        (["yes"] * 10, "yes " * 2500, 0.0, 0.0),
    ],
)
def test_goldens(scored, people, said, vqa, textvqa):
    for name, expected in (("vqa_v2", vqa), ("ok_vqa", vqa), ("textvqa", textvqa)):
        found = scored(name, (people, said))
        assert found.official["accuracy"] == expected
        assert found.official["per_answer_type"] == {"other": expected}


def test_files_of_vqa_v2_are_told_to_be_no_files_of_ok_vqa(scored):
    told = "1 of 1 questions are of VQA v2 by their fields; `tinygptv score vqa_v2` counts them"
    assert told in scored("ok_vqa", (YES, "yes")).notes
    for name, kind in (("vqa_v2", "what is"), ("ok_vqa", "five"), ("ok_vqa", "other")):
        assert not any("by their fields" in note for note in scored(name, (YES, "yes"), question_type=kind).notes)


def test_the_variant_is_named():
    variants = {name: benchmark_of(name).official[0].variant for name in ("vqa_v2", "ok_vqa", "textvqa")}
    assert variants["vqa_v2"].startswith("VQA accuracy B: both normalised, unless all people agree")
    assert variants["ok_vqa"] == variants["vqa_v2"]
    assert variants["textvqa"].startswith("VQA accuracy D-EvalAI:")


def test_answers_without_answer_id_are_of_different_people(tmp_path):
    entry = {"question_id": 1, "image_id": 1, "answers": [{"answer": text} for text in YES]}
    path = write(tmp_path / "annotations.json", {"annotations": [entry]})
    for said, expected in (("yes", 1.0), ("no", 0.6)):
        predictions = write(tmp_path / "predictions.json", [{"question_id": 1, "answer": said}])
        assert score_files("vqa_v2", [path], predictions).official["accuracy"] == expected


def test_kinds_of_answers_have_a_number_each(tmp_path):
    kinds = ["yes/no", "number", "other", "other"]
    answers = [annotation(number, YES, image=number, answer_type=kind) for number, kind in enumerate(kinds)]
    said = [{"question_id": number, "answer": text} for number, text in enumerate(("yes", "no", "yes", "maybe"))]
    found = score_files("vqa_v2", [annotations_file(tmp_path, answers)], write(tmp_path / "p.json", said))
    assert found.official == {"accuracy": 0.65, "per_answer_type": {"yes/no": 1.0, "number": 0.6, "other": 0.5}}
    assert (found.n, found.expected_n, found.complete, found.authors) == (4, 214_354, False, None)


def test_published_counts():
    counts = {name: dict(benchmark_of(name).parts) for name in ("vqa_v2", "ok_vqa", "textvqa", "vizwiz", "a_okvqa")}
    assert {name: parts["val"] for name, parts in counts.items()} == {
        "vqa_v2": 214_354,
        "ok_vqa": 5_046,
        "textvqa": 5_000,
        "vizwiz": 4_319,
        "a_okvqa": 1_145,
    }
    assert all(next(iter(parts)) == "val" for parts in counts.values())


def test_the_authors_compare_in_lower_case(scored):
    found = scored("ok_vqa", (["Paris"] * 10, "paris"), (["Paris"] * 10, "Paris ###Human: no"), (YES, "No."))
    assert found.official["accuracy"] == pytest.approx(0.2)
    assert found.authors == {"accuracy": pytest.approx((1 + 1 + 0.6) / 3)}


def test_submissions_are_read_as_they_are_written():
    benchmark = benchmark_of("vqa_v2")
    for given in (458752000, "458752000", "own-1", "007"):
        name, prediction = benchmark.read_prediction({"question_id": given, "answer": "net "})
        written = benchmark.write_prediction(name, prediction, {})
        assert benchmark.read_prediction(written) == (name, prediction)
        assert written["answer"] == "net "
    assert benchmark.write_prediction("458752000", prediction, {})["question_id"] == 458752000
    assert benchmark.write_prediction("007", prediction, {})["question_id"] == "007"


def test_instructions_of_both_presets():
    for name in ("vqa_v2", "ok_vqa", "textvqa", "a_okvqa"):
        asked = benchmark_of(name).instruction
        assert asked("as_trained", "vqa", "why?", {}) == "[vqa] why?"
        released = "[vqa] Based on the image, respond to this question with a short answer: why?"
        assert asked("authors_released", "vqa", "why?", {}) == released


def test_kinds_begin_with_the_name_of_the_benchmark():
    for name, truth, kind in (
        ("vqa_v2", {"answer_type": "number"}, "vqa_v2-number"),
        ("ok_vqa", {"answer_type": "other", "question_type": "five"}, "ok_vqa-cooking and food"),
        ("vizwiz", {"answer_type": "unanswerable"}, "vizwiz-unanswerable"),
    ):
        benchmark = benchmark_of(name)
        assert benchmark.type_of("", truth) == kind
        assert kind in benchmark.types
        assert benchmark.type_of("", {}) == ""


def test_what_does_not_fit_is_one_line(tmp_path):
    path = annotations_file(tmp_path, [annotation(1, YES)])
    for said, words in (
        ([{"question_id": 1, "answer": 3}], "`answer` must be text"),
        ([{"question_id": 1}], "has no `answer`"),
        ([{"question_id": 2, "answer": "yes"}], "predictions are of no question"),
        ([{"question_id": 1, "answer": "yes"}] * 2, "1 has a prediction already"),
    ):
        with pytest.raises(DataError, match=words):
            score_files("vqa_v2", [path], write(tmp_path / "p.json", said))
    with pytest.raises(DataError, match="is of val2014, not of train"):
        score_files("vqa_v2", [path], write(tmp_path / "p.json", [{"question_id": 1, "answer": "yes"}]), "train")

"""A real package with fresh weights before real questions, and what becomes of answers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.promotion.worlds import said
from tinygptv.config.profiles import Profile
from tinygptv.evaluation.predictions import prediction
from tinygptv.evaluation.statistics import number
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.files import write_json
from tinygptv.promotion import contest
from tinygptv.promotion.contest import Answers, Exam, exam_of


@pytest.fixture(scope="module")
def package(make_model, processor, tmp_path_factory) -> Path:
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.int8 import save_quantized

    folder = tmp_path_factory.mktemp("package") / "model"
    folder.mkdir()
    save_quantized(VisionLanguageModel(make_model(3), processor), folder, outlier_threshold=0.0, max_new_tokens=4)
    return folder


@pytest.fixture
def exam(smoke, small_shards, tmp_path) -> Exam:
    one = smoke.runtime.model_copy(update={"threads": 1, "deterministic": False})
    profile = Profile("smoke", 7, smoke.model_copy(update={"runtime": one}))
    return exam_of(tmp_path / "checkout", profile, small_shards)


@pytest.mark.pipeline
def test_a_package_is_asked_once_and_by_whoever_asks_first(exam, package, tmp_path, capfd):
    first = contest.examine(exam, package)
    texts = [(question.record, response.text) for question, response in first.given]
    assert len(texts) == len(exam.questions) and first.questions == exam.questions.digest
    assert 0 < first.latency_seconds < 60
    answers = exam.root / ".state" / "smoke" / "answers"
    written = {path: path.stat().st_mtime_ns for path in answers.glob("*/*.json") if path.parent.name != "askers"}
    assert written
    again = contest.examine(replace(exam, asker="champion"), package)
    assert [(question.record, response.text) for question, response in again.given] == texts
    assert {path: path.stat().st_mtime_ns for path in written} == written, "somebody has asked again"
    assert again.latency_seconds > 0  # which is of this machine as it is now
    with pytest.raises(UserError, match="answer_all ended with code 2"):
        contest.examine(exam, tmp_path)
    assert os.fspath(tmp_path) in capfd.readouterr().err


def test_right_and_wrong(exam, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "file").write_bytes(b"12345")
    given = [(question, said(question, place > 0)) for place, question in enumerate(exam.questions)]
    answers = Answers(exam.questions.digest, given, 0.5)
    former = [prediction(question, said(question, right=True)) for question in exam.questions]
    write_json(tmp_path / "predictions.json", former)
    found = contest.judge(exam, answers, package, tmp_path / "predictions.json")
    wrong, *others = (number(columns.metric, columns.columns_QC) for columns in found.columns.values())
    count = exam.questions.counts()["easy_vqa"]
    assert (wrong, others) == (pytest.approx(1 - 1 / count), [1.0, 1.0])
    assert (found.answered, found.digest, found.package_bytes) == (len(given), exam.questions.digest, 5)
    assert found.agreement == pytest.approx(1 - 1 / len(given), abs=1e-6)
    assert contest.judge(exam, answers, package, None).agreement is None
    write_json(tmp_path / "predictions.json", former[:-1])
    with pytest.raises(DataError, match="answers other questions than the test set has"):
        contest.judge(exam, answers, package, tmp_path / "predictions.json")


def test_images_are_drawn_in_the_order_of_their_keys(exam, tmp_path):
    """So that equal seeds give the intervals that they gave when images were known by their keys."""
    given = [(question, said(question, right=True)) for question in exam.questions]
    columns = contest.judge(exam, Answers(exam.questions.digest, given, 0.5), tmp_path, None).columns["easy_vqa"]
    keys = [question.key for question, _ in given if question.benchmark == "easy_vqa"]
    by_number = [key for _, key in sorted(zip(columns.images_Q, keys, strict=True))]
    assert by_number == sorted(keys) and any(key > "8" for key in keys) and any(key < "8" for key in keys)


def test_answers_to_a_part_are_counted_and_compared_with_nothing(exam, tmp_path):
    given = [(question, said(question, right=True)) for question in exam.questions]
    write_json(tmp_path / "predictions.json", [prediction(*pair) for pair in given])
    answers = Answers(exam.questions.digest, given[:-1], 0.5)
    found = contest.judge(exam, answers, tmp_path, tmp_path / "predictions.json")
    assert (found.answered, found.agreement) == (len(given) - 1, None)


def test_a_test_set_without_questions_is_refused(exam, smoke, tmp_path):
    config = smoke.model_copy(update={"evaluate": smoke.evaluate.model_copy(update={"benchmarks": ()})})
    with pytest.raises(DataError, match=r"no test question of a benchmark; `evaluate.benchmarks` names none; run"):
        exam_of(exam.root, Profile("smoke", 7, config), exam.shards)

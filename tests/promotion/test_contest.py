"""A real package with fresh weights before real questions, and what becomes of answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tinygptv.data.record_rules import parse_sample
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.summary import tars
from tinygptv.evaluation.package import PackageJob, answer_all
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.files import read_json, write_json
from tinygptv.promotion import contest
from tinygptv.promotion.contest import Answers, Exam


@pytest.fixture(scope="module")
def package(make_model, processor, tmp_path_factory) -> Path:
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.int8 import save_quantized

    folder = tmp_path_factory.mktemp("package") / "model"
    folder.mkdir()
    save_quantized(VisionLanguageModel(make_model(3), processor), folder, outlier_threshold=0.0, max_new_tokens=4)
    return folder


@pytest.fixture
def exam(smoke, small_shards) -> Exam:
    one = smoke.runtime.model_copy(update={"threads": 1, "deterministic": False})
    return Exam(smoke.model_copy(update={"runtime": one}), 7, small_shards)


@pytest.mark.pipeline
def test_in_a_process_of_its_own(exam, package, tmp_path, capfd):
    answer_all(
        PackageJob(exam.config, exam.seed, exam.shards, package, tmp_path / "answers.json", tmp_path / "measured.json")
    )
    found = contest.examine(exam, package)
    assert list(found.texts) == [entry["answer"] for entry in read_json(tmp_path / "answers.json")]
    assert list(found.ids) == contest.asked(contest.questions_of(exam)).ids and len(set(found.ids)) == len(found.ids)
    assert 0 < found.latency_seconds < 60
    with pytest.raises(UserError, match="answer_all ended with code 2"):
        contest.examine(exam, tmp_path)
    assert "is no complete model: config.json is missing" in capfd.readouterr().err


def test_right_and_wrong(exam, tmp_path):
    questions = contest.questions_of(exam)
    (tmp_path / "file").write_bytes(b"12345")
    truth = [q.truth for q in questions]
    answers = Answers(tuple(contest.asked(questions).ids), ("wrong", *truth[1:]), 0.5)
    former = [{"record": q.record, "question": q.content, "answer": q.truth} for q in questions]
    write_json(tmp_path / "predictions.json", former)
    size = 5 + (tmp_path / "predictions.json").stat().st_size
    found = contest.judge(questions, answers, tmp_path, tmp_path / "predictions.json")
    assert (found.right[0], sum(found.right), found.package_bytes) == (False, len(truth) - 1, size)
    assert found.agreement == pytest.approx(1 - 1 / len(truth))
    assert contest.judge(questions, answers, tmp_path, None).agreement is None
    write_json(tmp_path / "predictions.json", former[:-1])
    with pytest.raises(DataError, match="answers other questions than the test set has"):
        contest.judge(questions, answers, tmp_path, tmp_path / "predictions.json")


def test_a_test_set_without_questions_is_refused(exam, tmp_path):
    write_shards(tmp_path, "test", [], images_per_shard=16)
    with pytest.raises(DataError, match=r"has no test-\*\.tar"):
        contest.questions_of(replace(exam, shards=tmp_path))
    samples = []
    for sample in read_samples(tars(exam.shards, "test-*.tar")):
        records = tuple(record for record in sample.record.records if record.task == "identify")
        if records:
            record = replace(sample.record, records=records)
            samples.append(parse_sample(record.key, record.to_json(), sample.image_bytes))
    write_shards(tmp_path, "test", samples, images_per_shard=16)
    with pytest.raises(DataError, match="has no question of the tasks vqa, refer, caption"):
        contest.questions_of(replace(exam, shards=tmp_path))

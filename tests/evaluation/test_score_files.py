"""Scores of files of predictions, on a small benchmark: numbers, ids, splits, and what is undefined."""

import json
import tracemalloc
from dataclasses import replace

import pytest

from tests.evaluation import small_benchmark
from tests.evaluation.small_benchmark import ANSWERS, BENCHMARK, QUESTIONS, written
from tinygptv.evaluation import score_files as module
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.evaluation.score_files import scorable, score_files
from tinygptv.evaluation.statistics import interval, wilson_interval
from tinygptv.ground.errors import DataError, UserError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    small_benchmark.known(monkeypatch)
    yield
    benchmark_of.cache_clear()


@pytest.fixture
def scored(tmp_path):
    def score(questions=QUESTIONS, answers=ANSWERS, **options):
        annotations, predictions = written(tmp_path, questions, answers)
        return score_files("small", [annotations], predictions, **options)

    return score


def test_official_numbers_authors_intervals_and_kinds(scored):
    found = scored()
    assert (found.benchmark, found.variant, found.n, found.expected_n) == ("small", "equal text", 4, 4)
    assert found.complete
    assert found.official == {"accuracy": 0.75, "auroc": 0.5, "per_kind": {"one": 0.5, "two": 1.0}}
    assert found.authors == {"accuracy": 0.75}
    assert found.ci95["accuracy"] == interval(BENCHMARK.official[0], *columns_and_images())
    assert found.ci95["per_kind"].keys() == {"one", "two"}
    assert found.notes[-1] == "the authors' accuracy: one holds the other"
    assert json.loads(json.dumps(found.as_json()))["ci95"]["accuracy"] == list(found.ci95["accuracy"])


def columns_and_images():
    columns = BENCHMARK.official[0].columns(QUESTIONS, [small_benchmark.read_prediction(entry)[1] for entry in ANSWERS])
    return columns, [0, 0, 1, 2]


def test_questions_whose_image_has_no_name_share_none(scored):
    found = scored([{**entry, "image": "unnamed"} for entry in QUESTIONS])
    assert found.ci95["accuracy"] == wilson_interval(3, 4)
    assert scored().ci95["accuracy"] != wilson_interval(3, 4)


@pytest.mark.parametrize("block", [1, 3, 4])
def test_blocks_change_nothing(scored, monkeypatch, block):
    expected = scored()
    monkeypatch.setattr(module, "BLOCK", block)
    assert scored() == expected
    assert scored(answers=ANSWERS[::-1]) == expected


def test_a_metric_of_the_whole_sees_all_questions_at_once(scored, monkeypatch):
    seen = []

    def columns(truths, predictions):
        seen.append(len(truths))
        return BENCHMARK.official[0].columns(truths, predictions)

    metric = replace(BENCHMARK.official[0], columns=columns, whole=True)
    monkeypatch.setattr(small_benchmark, "BENCHMARK", replace(BENCHMARK, official=(metric,)))
    monkeypatch.setattr(module, "BLOCK", 1)
    benchmark_of.cache_clear()
    assert scored().official == {"accuracy": 0.75}
    assert seen == [4]


def test_a_missing_prediction_is_an_error_or_wrong_and_counted(scored):
    with pytest.raises(DataError, match=r"2 of 4 questions of val have no prediction: 3, 4; add them, or .*--allow"):
        scored(answers=ANSWERS[:2])
    found = scored(answers=ANSWERS[:2], allow_missing=True)
    assert (found.n, found.complete) == (4, False)
    assert found.official == {"accuracy": 0.25, "auroc": 0.25, "per_kind": {"one": 0.5, "two": 0.0}}
    assert found.authors == {"accuracy": 0.25}, "an empty answer would be in any truth"
    assert found.notes[0] == "2 questions have no prediction and count as wrong: 3, 4"


def test_without_any_prediction_all_is_wrong(scored):
    assert scored(answers=[], allow_missing=True).official["accuracy"] == 0.0
    with pytest.raises(DataError, match="4 of 4 questions"):
        scored(answers=[])


def test_of_many_missing_ones_the_first_are_named(scored):
    questions = [{**QUESTIONS[0], "id": place} for place in range(1, 31)]
    with pytest.raises(DataError, match=r"29 of 30 questions of other have no prediction: 2, 3, 4.* 9 and 21 more;"):
        scored(questions, ANSWERS[:1], split="other")


def test_an_unknown_id_is_an_error(scored):
    with pytest.raises(DataError, match=r"1 of 5 predictions are of no question of val: 77$"):
        scored(answers=[*ANSWERS, {"id": 77, "answer": "x"}])


def test_an_id_is_the_same_as_number_and_as_text(scored):
    assert scored(answers=[{**entry, "id": str(entry["id"])} for entry in ANSWERS]) == scored()


def test_predictions_of_another_split_are_told_of_it(scored):
    answers = [{"id": place, "answer": "yes"} for place in range(11, 17)]
    with pytest.raises(DataError, match=r"6 of 6 predictions are of no question of val: 11.*; 6 is how many test has"):
        scored(answers=answers)


def test_annotations_of_another_split_are_told_of_it(scored):
    questions = [{**QUESTIONS[0], "id": place} for place in range(1, 7)]
    answers = [{"id": place, "answer": "yes"} for place in range(1, 7)]
    with pytest.raises(DataError, match="6 questions, but val has 4; 6 is how many test has: say so with --split"):
        scored(questions, answers)
    assert scored(questions, answers, split="test").complete


def test_files_of_ones_own_are_scored_and_said_to_be_not_the_whole(scored):
    found = scored(QUESTIONS[:3], ANSWERS[:3])
    assert (found.n, found.expected_n, found.complete) == (3, 4, False)
    assert found.notes[0] == "3 questions, not the 4 of the published split val"
    found = scored(QUESTIONS[:3], ANSWERS[:3], split="other")
    assert (found.n, found.expected_n, found.complete) == (3, None, True)


def test_a_question_that_the_form_leaves_out_is_counted_and_named(scored):
    found = scored([*QUESTIONS[:3], {**QUESTIONS[3], "image": ""}])
    assert (found.n, found.complete) == (3, False)
    assert "1 questions of the annotations are left out: 4 (has no image)" in found.notes


def test_one_class_alone_is_undefined_and_said_to_be(scored):
    found = scored([{**entry, "answer": "yes"} for entry in QUESTIONS])
    assert found.official["auroc"] is None and found.ci95["auroc"] is None
    assert "auroc is undefined: one class alone, or no score" in found.notes


def test_a_number_without_an_interval_is_said_to_have_none(scored):
    questions = [
        {**QUESTIONS[0], "id": 1},
        *({**QUESTIONS[1], "id": place, "image": str(place)} for place in (2, 3, 4)),
    ]
    found = scored(questions)
    assert found.official["auroc"] == 1.0 and found.ci95["auroc"] is None
    assert "auroc has no interval: all are of one image, or it is undefined in too many resamples" in found.notes


def test_questions_that_do_not_count_are_counted(scored):
    found = scored([*QUESTIONS[:2], *({**entry, "answer": ""} for entry in QUESTIONS[2:])])
    assert found.official["accuracy"] == 0.5 and found.official["per_kind"] == {"one": 0.5, "two": None}
    assert "accuracy: 2 of 4 questions do not count" in found.notes
    assert "per_kind of two is undefined: no question counts" in found.notes


@pytest.mark.parametrize("questions", [[], [{**QUESTIONS[0], "part": "test"}]])
def test_no_question_is_an_error(scored, questions):
    with pytest.raises(DataError, match=r"questions\.json: no question of val"):
        scored(questions, [])


def test_a_split_that_is_not_there(scored, monkeypatch):
    with pytest.raises(UserError, match="--split tets: small has no such split; it has val, test, other; did"):
        scored(split="tets")
    monkeypatch.setattr(small_benchmark, "BENCHMARK", replace(BENCHMARK, parts={}))
    benchmark_of.cache_clear()
    with pytest.raises(UserError, match="small has no splits; leave --split out"):
        scored(split="val")
    assert scored().expected_n is None


def test_a_folder_gives_the_files_that_can_be_annotations(tmp_path):
    _, predictions = written(tmp_path)
    folder = tmp_path / "official"
    (folder / "images").mkdir(parents=True)
    for place, entry in enumerate(QUESTIONS):
        (folder / f"{place}.jsonl").write_text(json.dumps(entry))
    for name in ("picture.png", ".hidden.json", "images/x.json"):
        (folder / name).write_text("nothing to be read")
    assert score_files("small", [folder], predictions).complete
    files = sorted(folder.glob("*.jsonl"))
    assert score_files("small", files, predictions).complete
    with pytest.raises(DataError, match="1 of 4 predictions"):
        score_files("small", files[1:], predictions)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no \.csv, \.json"):
        score_files("small", [empty], predictions)


@pytest.mark.parametrize("answer", ["", "🙂", "x" * 10_000, "\ud800", "a\x00b\n"])
def test_any_text_is_an_answer(scored, answer):
    assert scored(answers=[{"id": 1, "answer": answer}, *ANSWERS[1:]]).official["accuracy"] == 0.5


def test_what_can_be_scored_has_files_and_predictions():
    assert "small" in scorable() and "exact_match" not in scorable()


def test_annotations_are_in_memory_block_by_block(tmp_path, monkeypatch):
    many = [{**QUESTIONS[place % 4], "id": place, "said": "x" * 100_000} for place in range(200)]
    answers = [{"id": place, "answer": "yes"} for place in range(200)]
    annotations, predictions = written(tmp_path, many, answers)
    del many
    monkeypatch.setattr(module, "BLOCK", 16)
    tracemalloc.start()
    score_files("small", [annotations], predictions, "other")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < annotations.stat().st_size / 2

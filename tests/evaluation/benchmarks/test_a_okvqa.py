"""A-OKVQA: direct answers and choices, of files that have either or both, and of a model's likelihoods."""

from __future__ import annotations

import json

import pytest

from tests.data.formats.vqa_files import write
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.evaluation.score_files import score_files
from tinygptv.ground.errors import DataError
from tinygptv.model.answerer import Likelihood, Response

BENCHMARK = benchmark_of("a_okvqa")
CHOICES = ["skateboarder", "train", "delivery", "cab"]
ANSWERS = ["ride"] * 4 + ["bus"] * 2 + ["taxi"] * 3 + ["cab"]


@pytest.fixture
def scored(tmp_path):
    """Score predictions one after the other; a truth of each may say that it is difficult."""

    def score(*predictions, difficult=(), **options):
        entries = [
            {
                "split": "val",
                "image_id": number,
                "question_id": f"q{number}",
                "question": "what?",
                "choices": CHOICES,
                "correct_choice_idx": 3,
                "direct_answers": ANSWERS,
                "difficult_direct_answer": number in difficult,
            }
            for number in range(len(predictions))
        ]
        said = [{"question_id": f"q{n}", **one} for n, one in enumerate(predictions) if one is not None]
        files = [write(tmp_path / "aokvqa_v1p0_val.json", entries)], write(tmp_path / "p.json", said)
        return score_files("a_okvqa", *files, **options)

    return score


def test_direct_answers_are_the_same_text_and_no_more(scored):
    found = scored(*({"direct_answer": text} for text in ("ride", "bus", "cab", "Ride", "the ride", "")))
    worth = [1, 2 / 3, 1 / 3, 0, 0, 0]
    assert found.official == {"direct_answer": pytest.approx(sum(worth) / 6), "multiple_choice": None}
    assert any("multiple_choice is undefined: the file has no choices" in note for note in found.notes)


def test_difficult_questions_count_for_the_choice_alone(scored):
    both = {"direct_answer": "ride", "multiple_choice": "cab"}
    wrong = {"direct_answer": "no", "multiple_choice": "train"}
    found = scored(both, wrong, wrong, difficult=(1,))
    assert found.official == {"direct_answer": 0.5, "multiple_choice": pytest.approx(1 / 3)}
    assert any("direct_answer: 1 of 3 questions do not count" in note for note in found.notes)
    notes = scored({"direct_answer": "ride"}, difficult=(0,)).notes
    assert any(
        "direct_answer is undefined" in note and "all questions are marked as difficult" in note for note in notes
    )


def test_choices_alone(scored):
    found = scored(*({"multiple_choice": text} for text in ("cab", "train", "no choice at all", "Cab")))
    assert found.official == {"direct_answer": None, "multiple_choice": 0.25}


def test_what_is_left_out_is_wrong(scored):
    right = {"direct_answer": "ride", "multiple_choice": "cab"}
    found = scored(right, {"direct_answer": "ride"})
    assert found.official == {"direct_answer": 1.0, "multiple_choice": 0.5}
    assert "multiple_choice: 1 of 2 predictions leave it out, and count as wrong" in found.notes
    assert not any("leave it out" in note for note in scored({"direct_answer": "ride"}, {"direct_answer": "x"}).notes)
    found = scored(right, None, allow_missing=True)
    assert found.official == {"direct_answer": 0.5, "multiple_choice": 0.5}
    assert scored({"direct_answer": "ride"}, None, allow_missing=True).official["multiple_choice"] is None


def test_the_leaderboard_s_object_is_read(scored, tmp_path):
    entries = [{"direct_answer": "ride", "multiple_choice": "cab"}, {"direct_answer": "x", "multiple_choice": "train"}]
    expected = scored(*entries)
    (annotations,) = tmp_path.glob("aokvqa*")
    for text in (json.dumps(dict(zip(("q0", "q1"), entries, strict=True)), indent=n) for n in (None, 2)):
        (tmp_path / "leaderboard.json").write_text(text)
        assert score_files("a_okvqa", [annotations], tmp_path / "leaderboard.json") == expected
    for text, words in {
        '{"q0": {"direct_answer": "ride"}, "q0": {"direct_answer": "x"}}': "q0 has a prediction already; keep one",
        '{"q0": {}}': "leaderboard.json, q0 has no `direct_answer`",
        '{"q0": {"direct_answer": 3}}': "leaderboard.json, q0: `direct_answer` must be text, not 3",
        '{"q0": {"direct_answer": "x"}, "q1"': "not valid JSON",
    }.items():
        (tmp_path / "leaderboard.json").write_text(text)
        with pytest.raises(DataError, match=words):
            score_files("a_okvqa", [annotations], tmp_path / "leaderboard.json")


def test_an_entry_with_neither_is_one_line(scored):
    with pytest.raises(DataError, match="has no `direct_answer`"):
        scored({})


def test_the_likeliest_choice_by_its_mean_token():
    truth = {"choices": CHOICES, "right": 3, "answers": ANSWERS}
    assert BENCHMARK.choices(truth) == tuple(CHOICES)
    likelihoods = tuple(Likelihood(logprob=p, tokens=n) for p, n in ((-9.0, 3), (-4.0, 2), (-6.0, 4), (-1.6, 1)))
    response = Response(text=" ride", tokens=1, cut=False, logprob=-1.0, choices=likelihoods)
    prediction = BENCHMARK.predict(truth, response)
    assert (prediction.direct_answer, prediction.multiple_choice) == ("ride", "delivery")
    written = BENCHMARK.write_prediction("q0", prediction, truth)
    assert written == {"question_id": "q0", "direct_answer": "ride", "multiple_choice": "delivery"}
    assert BENCHMARK.read_prediction(written) == ("q0", prediction)


def test_a_guess_without_likelihoods_chooses_what_it_says():
    truth = {"choices": CHOICES, "right": 3, "answers": ANSWERS}
    for text, chosen in (("cab", "cab"), ("ride", None)):
        prediction = BENCHMARK.predict(truth, Response(text=text, tokens=1, cut=False, logprob=0.0))
        assert prediction.multiple_choice == chosen

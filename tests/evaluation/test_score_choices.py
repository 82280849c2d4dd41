"""`tinygptv score` on small files in their official layout: answers that are one of a few, ranks, and own questions."""

from __future__ import annotations

import pytest

from tests.data.formats.official import write_json, write_lines
from tests.data.formats.test_gqa import NAME
from tests.data.formats.test_gqa import QUESTION as GQA
from tests.data.formats.test_hateful_memes import MEME
from tests.data.formats.test_iconqa import BLANK, PICTURES, TEXT
from tests.data.formats.test_pope import QUESTION as POPE
from tests.data.formats.test_questions import CAT
from tests.data.formats.test_vsr import STATEMENT
from tinygptv.evaluation.score_files import scorable, score_files
from tinygptv.ground.errors import DataError


@pytest.fixture
def score(tmp_path):
    """``score(name, annotations, entries)``: annotations are a file or a folder below, entries the predictions."""

    def of(name, annotations, entries, **options):
        return score_files(name, [annotations], write_json(tmp_path / "predictions" / "made.json", entries), **options)

    return of


def test_gqa(tmp_path, score):
    yes = {**GQA, "answer": "yes", "types": {"structural": "verify"}}
    path = write_json(tmp_path / NAME, {"1": GQA, "2": yes, "3": yes})
    said = [{"questionId": place, "prediction": text} for place, text in ((1, "man"), ("2", "yes"), ("3", "yes."))]
    found = score("gqa", path, said)
    assert found.official == {"accuracy": 1 / 3, "per_answer_type": {"open": 0.0, "binary": 0.5}}
    assert found.authors == {"accuracy": 2 / 3}
    assert (found.n, found.expected_n, found.complete) == (3, 12_578, False)
    assert "nothing normalised" in found.variant


def test_scores_of_some_are_no_silent_number(tmp_path, score):
    path = write_lines(tmp_path / "test.jsonl", [STATEMENT, {**STATEMENT, "label": 1 - STATEMENT["label"]}] * 2)
    said = [{"id": 0, "score": 0.9}, {"id": 1, "score": 0.1}, {"id": 2, "prediction": "true"}, {"id": 3, "score": 0.2}]
    assert "1 of 4 predictions have no score, and are ranked on the wrong end" in score("vsr", path, said).notes
    whole = [entry | {"score": 0.5} for entry in said]
    assert not [note for note in score("vsr", path, whole).notes if "ranked" in note]


def test_vsr(tmp_path, score):
    path = write_lines(tmp_path / "test.jsonl", [{**STATEMENT, "label": label} for label in (1, 0, 1)])
    found = score("vsr", path, [{"id": place, "score": score} for place, score in enumerate((0.9, 0.8, 0.7))])
    assert found.official == {"accuracy": 2 / 3, "auroc": 0.5}
    one_class = write_lines(tmp_path / "own" / "test.jsonl", [STATEMENT])
    found = score("vsr", one_class, [{"id": 0, "prediction": "True"}])
    assert found.official == {"accuracy": 1.0, "auroc": None}
    assert any(note.startswith("auroc is undefined: the truth has one class alone") for note in found.notes)


def test_a_missing_score_is_ranked_last(tmp_path, score):
    path = write_lines(tmp_path / "test.jsonl", [{**STATEMENT, "label": label} for label in (1, 0, 1)])
    entries = [{"id": 0, "score": 0.9}, {"id": 1, "score": 0.1}]
    with pytest.raises(DataError, match="1 of 3 questions of test have no prediction: 2"):
        score("vsr", path, entries)
    found = score("vsr", path, entries, allow_missing=True)
    assert found.official == {"accuracy": 2 / 3, "auroc": 0.5}
    assert found.authors == {"accuracy": 2 / 3, "accuracy_with_yes_no": 2 / 3}


@pytest.mark.parametrize("part", ["choose_txt_test", "choose_img_test"])
def test_iconqa(tmp_path, score, part):
    problems = {"3": TEXT, "4": BLANK, "6": PICTURES}
    splits = {"choose_txt_test": ["3"], "fill_in_blank_test": ["4"], "choose_img_test": ["6"]}
    write_json(tmp_path / "iconqa" / "problems.json", problems)
    folder = write_json(tmp_path / "iconqa" / "pid_splits.json", splits).parent
    found = score("iconqa", folder, [{"pid": splits[part][0], "prediction": 1}], split=part)
    assert found.official == {"accuracy": 1.0, "accuracy_generated": None}
    assert found.n == 1
    blank = score("iconqa", folder, [{"pid": 4, "prediction": "7"}], split="fill_in_blank_test")
    assert blank.official == {"accuracy": 1.0, "accuracy_generated": 1.0}


def test_hateful_memes_by_the_name_of_the_file(tmp_path, score):
    memes = [{**MEME, "id": number, "label": number % 2} for number in range(4)]
    path = write_lines(tmp_path / "test_unseen.jsonl", memes)
    found = score("hateful_memes", path, [{"id": number, "proba": number / 4, "label": 1} for number in range(4)])
    assert found.official == {"auroc": 0.75, "accuracy": 0.5}
    assert found.expected_n == 2_000
    with pytest.raises(DataError, match="no file is of the part dev_seen"):
        score("hateful_memes", path, [{"id": 0, "proba": 0.5}], split="dev_seen")


def test_pope_by_the_name_of_the_file(tmp_path, score):
    questions = [{**POPE, "question_id": place, "label": label} for place, label in enumerate(("yes", "no"))]
    path = write_lines(tmp_path / "coco_pope_popular.json", questions)
    found = score("pope", path, [{"question_id": 0, "answer": "Yes."}, {"question_id": 1, "answer": "No, not one."}])
    assert found.official == {"accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "yes_ratio": 0.5}
    assert found.authors is None
    found = score("pope", path, [{"question_id": 0, "answer": "No."}], allow_missing=True)
    assert found.official == {"accuracy": 0.0, "precision": None, "recall": 0.0, "f1": 0.0, "yes_ratio": 0.0}


def test_questions_of_ones_own(tmp_path, score):
    own = [
        {**CAT, "id": 1, "choices": ["a cat", "a dog"]},
        {**CAT, "id": 2, "choices": ["a cat", "a dog"], "answer": 1},
        {**CAT, "id": 3, "answer": ""},
    ]
    found = score(
        "choice", write_lines(tmp_path / "own.jsonl", own), [{"id": place, "prediction": 0} for place in (1, 2)]
    )
    assert found.official["accuracy"] == 0.5
    assert (found.n, found.expected_n, found.complete) == (2, None, False)
    assert found.notes[0].startswith(
        "1 questions of the annotations are left out: own.jsonl, line 3 (an answer must be"
    )
    asked = [{**CAT, "id": place, "answer": text} for place, text in enumerate(("yes", "no", "a cat"))]
    told = [{"id": place, "prediction": text, "score": 0.5} for place, text in enumerate(("yes", "yes", "no"))]
    found = score("yes_no", write_lines(tmp_path / "own.jsonl", asked), told)
    assert (found.n, found.official["accuracy"], found.official["auroc"]) == (3, 0.5, 0.5)
    assert "accuracy: 1 of 3 questions do not count" in found.notes


def test_what_can_be_scored():
    assert {"choice", "gqa", "hateful_memes", "iconqa", "pope", "vsr", "yes_no"} <= set(scorable())

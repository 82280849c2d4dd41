"""Answers in files, and answers compared with those in a file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.evaluation.asked import ASKS, question, said
from tinygptv.evaluation.predictions import Agreement, agreed, kept, submitted
from tinygptv.ground.errors import DataError

COLOUR = question("vqa", "what color?", "blue", record="r1")
CAPTION = question("caption", "", "a circle", record="r2")


def written(path, *answers):
    with kept(path) as keep:
        for asked, response in answers:
            keep(asked, response)
    return path


def test_predictions_are_a_list(tmp_path):
    path = written(tmp_path / "p.json", (COLOUR, said("blue")), (CAPTION, said("ü", cut=True)))
    first, second = json.loads(path.read_bytes())
    assert first == {
        "record": "r1",
        "image": "image-0",
        "task": "vqa",
        "benchmark": "easy_vqa",
        "question": "what color?",
        "truth": "blue",
        "answer": "blue",
        "cut": False,
    }
    assert (second["answer"], second["cut"]) == ("ü", True)
    assert json.loads(written(tmp_path / "none.json").read_bytes()) == []


def test_what_breaks_off_leaves_no_file(tmp_path):
    with pytest.raises(KeyError), kept(tmp_path / "p.json"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_submission_is_in_the_form_of_its_benchmark(tmp_path):
    form = replace(ASKS[0].benchmark, write_prediction=lambda name, said, truth: {"id": name, "a": said.answer})
    asks = (replace(ASKS[0], benchmark=form), *ASKS[1:])
    with submitted(tmp_path / "submissions", asks) as keep:
        keep(COLOUR, said("blue"))
        keep(CAPTION, said("a circle"))
    assert [path.name for path in (tmp_path / "submissions").iterdir()] == ["easy_vqa.json"]
    assert json.loads((tmp_path / "submissions" / "easy_vqa.json").read_bytes()) == [{"id": "r1", "a": "blue"}]


def compared(path, *answers):
    agreement = Agreement(path)
    for asked, response in answers:
        agreement(asked, response)
    return agreement.result()


def test_answers_are_compared_as_a_whole_and_by_benchmark(tmp_path):
    former = written(tmp_path / "p.json", (COLOUR, said("blue")), (COLOUR, said("blue")), (CAPTION, said("x")))
    found = compared(former, (COLOUR, said("blue ")), (COLOUR, said("red")), (CAPTION, said("x")))
    assert found == {"value": 0.666667, "n": 3, "by_benchmark": {"easy_vqa": 0.5, "easy_vqa_caption": 1.0}}
    assert agreed(found) == "Answers equal to the unquantized model's: 0.6667."


def test_nothing_to_compare_is_said(tmp_path):
    found = compared(written(tmp_path / "p.json"))
    assert found == {"value": None, "n": 0, "by_benchmark": {}}
    assert "nothing was compared" in agreed(found)


@pytest.mark.parametrize("former", [(replace(COLOUR, record="another"),), (replace(COLOUR, content="?"),), ()])
@pytest.mark.parametrize("asked", [(COLOUR,), (COLOUR, COLOUR)])
def test_answers_to_other_questions_are_refused(tmp_path, former, asked):
    path = written(tmp_path / "p.json", *((one, said("blue")) for one in former))
    with pytest.raises(DataError, match="answers other questions"):
        compared(path, *((one, said("blue")) for one in asked))


def test_a_former_model_that_was_asked_more_is_refused(tmp_path):
    path = written(tmp_path / "p.json", (COLOUR, said("blue")), (CAPTION, said("x")))
    with pytest.raises(DataError, match="answers other questions"):
        compared(path, (COLOUR, said("blue")))

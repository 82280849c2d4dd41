"""A stage whose looks ask held-out questions, through its steps: the number that `evaluate` has, and no other bit."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.steps.test_train import stop_after
from tests.steps.test_validation import FILES, trace, with_looks
from tests.training.test_validation import without_looks
from tinygptv.data.views import write_views
from tinygptv.evaluation.benchmarks import table
from tinygptv.ground.files import read_json

LOOKS = "validation: {every: 3, batches: 2, questions: 6, keep: score, patience: null}"
ASKED = 6


@pytest.fixture
def scoring(checkout, run):
    """A checkout whose stages 1 to 3 ask held-out questions, with the views and features that this takes."""
    return with_looks(checkout, run, LOOKS)


@pytest.fixture
def asked(monkeypatch):
    """A metric that tells any two answers apart: so small a model has none right. The captions, by it."""
    from tinygptv.evaluation import held_out
    from tinygptv.evaluation.benchmarks.seam import Metric, each, mean

    metric = Metric(
        name="m", variant="", columns=each(lambda _, p: (1 - sum(p.answer.encode()) % 97 / 97,)), value=mean
    )

    def counted(dataset, settings):
        for ask in table.asks_of_set(dataset, settings):
            yield replace(ask, benchmark=replace(ask.benchmark, official=(metric,)))

    monkeypatch.setattr(held_out, "asks_of_set", counted)
    return lambda config: [ask for ask in counted("easy_vqa", config.data["easy_vqa"]) if ask.task == "caption"]


def test_the_score_is_that_of_evaluate_and_nothing_that_trains_differs(scoring, with_stage1, run, capfd, asked):
    from tinygptv.evaluation.asking import ask
    from tinygptv.evaluation.questions import evenly_spaced, open_questions
    from tinygptv.evaluation.scores import Judge
    from tinygptv.evaluation.subjects import stage_subject

    assert run(scoring, "stage1") == 0
    made = trace(scoring.data / "stage1")
    scores = [point["validation_score"] for point in made if "validation_score" in point]
    assert len(scores) == 4 and len(set(scores)) > 1, scores
    assert without_looks(made) == trace(with_stage1.data / "stage1")

    told = capfd.readouterr().out
    assert f"held-out samples and {ASKED} questions are looked at every 3 steps" in told
    history = read_json(scoring.data / "stage1" / "history.json")
    assert history[0]["start_score"] == made[0]["start_score"]
    (best,) = (point for point in history if "best" in point)  # but for chance, not what it began with
    assert best["validation_score"] == max(scores) > made[0]["start_score"]
    assert f"stage1: the weights of step {best['step']}, with the highest score on the held-out part: " in told
    assert f"score {scores[-1]:.3g}"[:9] in told

    config, data = scoring.config, scoring.data
    questions = evenly_spaced(open_questions(data / "shards", "val", asked(config)), ASKED)
    subject = stage_subject(config, "stage1", data / "backbones", data / "stage1")
    how = replace(subject.how("as_trained"), max_new_tokens=config.stage1.max_answer_tokens)
    judge = Judge(questions.asks, {}, "as_trained")
    for question, response in ask(subject.open, subject.identity, questions, how, None, ""):
        judge.add(question, response)
    (found,) = judge.result()["benchmarks"].values()
    assert best["validation_score"] == pytest.approx(found["value"], abs=1e-6)


@pytest.mark.usefixtures("asked")
def test_a_stopped_stage_that_encodes_in_its_loop_leaves_the_same_bytes(scoring, run):
    assert run(scoring, "stage1") == 0
    once = {name: (scoring.data / "stage1" / name).read_bytes() for name in FILES}
    shutil.rmtree(scoring.data / "stage1")
    scoring.edit("features: cached", "features: in_loop")
    shutil.rmtree(scoring.data / "features")
    write_views(scoring.data / "shards", scoring.config)
    assert run(scoring, "features") == 0
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 6)
        assert run(scoring, "stage1") == 143
    assert run(scoring, "stage1") == 0
    assert {name: (scoring.data / "stage1" / name).read_bytes() for name in FILES} == once


def test_what_decides_a_score_is_in_the_view_of_the_stage_that_asks(scoring):
    views = {name: read_json(scoring.data / "shards" / "views" / f"{name}.json") for name in ("stage1", "stage4")}
    scored = views["stage1"]["easy_vqa"]["scored"]
    assert scored == {"format": "easy_vqa", "benchmark": None, "part": None, "code": scoring.config.scored["stage1"]}
    assert views["stage4"]["easy_vqa"].keys() == {"train", "val", "scored"}


def test_a_set_without_held_out_questions_is_one_line(scoring, refused, monkeypatch):
    from tinygptv.evaluation.questions import Questions

    monkeypatch.setattr(Questions, "counts", lambda _: {})
    monkeypatch.setattr("tinygptv.evaluation.held_out.evenly_spaced", lambda found, _: found.some(np.arange(0)))
    refused(scoring, "stage1", "stage1.validation.questions: no benchmark has a number", "set it to null")

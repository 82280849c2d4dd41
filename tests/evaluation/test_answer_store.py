"""Answers that were given are not asked for again, by whomever; what is damaged, or about something else, is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import grimp
import pytest

from tests.serving.helpers import strong_model
from tinygptv.evaluation import answer_store, asking
from tinygptv.evaluation.answer_store import CODE, AnswerStore
from tinygptv.evaluation.asking import ask
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.presets import stage_asking
from tinygptv.evaluation.questions import Questions, evenly_spaced, open_questions
from tinygptv.model.answerer import Likelihood, Response

SOURCE = Path(answer_store.__file__).resolve().parents[2]
DECIDES_NOTHING = {
    "data/data_urls.py": "pictures of users",
}
"""Files that asking imports and that decide no answer, with the reason."""
SAID = Response(
    text='né 🟥 " \n', tokens=3, cut=True, logprob=-0.1 - 1 / 3, choices=(Likelihood(logprob=-1e-300, tokens=2),)
)


@pytest.fixture(scope="module")
def model(make_model, processor):
    """A model that tells images apart. Read only."""
    return strong_model(make_model(seed=4), processor, seed=4)


@pytest.fixture
def questions(small_shards, smoke):
    return evenly_spaced(open_questions(small_shards, "test", asks_of(smoke)), 9)


@pytest.fixture
def how(smoke):
    few = smoke.evaluate.model_copy(update={"max_new_tokens": 4, "batch_size": 8})
    return stage_asking(smoke.model_copy(update={"evaluate": few}), "stage4", "as_trained")


@pytest.fixture
def given(model, questions, how, tmp_path, smoke, monkeypatch):
    """``given(...)``: answers by way of the store, and how many questions were put to the model for them."""
    monkeypatch.setattr(asking, "BLOCK", 10)

    def answer(asker="one", some=questions, digest="m", settings=smoke.runtime, **changed):
        put = asking.Speed()
        with AnswerStore.opened(tmp_path / "answers", asker, settings) as store:
            said = list(ask(lambda: model, digest, some, replace(how, **changed), store, speed=put))
        return said, put.questions

    return answer


def blocks(tmp_path):
    return sorted(path for path in (tmp_path / "answers").glob("*/*.json") if path.parent.name != "askers")


def test_what_was_asked_is_not_asked_again(given, model, questions, how):
    said, put = given()
    assert put == len(said) == 27 and said == list(ask(lambda: model, "", questions, how, None))
    assert given() == (said, 0)
    assert given(asker="another") == (said, 0)


def test_no_model_is_opened_for_answers_that_are_kept(given, questions, how, tmp_path, smoke):
    said, _ = given()
    with AnswerStore.opened(tmp_path / "answers", "one", smoke.runtime) as store:
        assert list(ask(lambda: pytest.fail("opened"), "m", questions, how, store)) == said


def test_a_missing_block_is_asked_alone(given, tmp_path):
    said, _ = given()
    before = [path.read_bytes() for path in blocks(tmp_path)]
    for path, count in zip(blocks(tmp_path), (10, 10, 7), strict=True):
        path.unlink()
        assert given() == (said, count)
    assert [path.read_bytes() for path in blocks(tmp_path)] == before


def _other_answer(content):
    content["answers"][0]["text"] += "!"


def _one_less(content):
    content["answers"].pop()
    content["sha256"] = answer_store._digest(content["answers"])


def _other_question(content):
    content["asked"] = "0" * 64


def test_a_damaged_block_is_asked_again(given, tmp_path):
    said, _ = given()
    path = blocks(tmp_path)[2]
    whole = path.read_bytes()
    for damage in ("", "{", "[]", "null", '{"asked": 1}', _other_answer, _one_less, _other_question):
        content = damage
        if not isinstance(damage, str):
            changed = json.loads(whole)
            damage(changed)
            content = json.dumps(changed)
        path.write_text(content)
        assert given() == (said, 7), damage
        assert path.read_bytes() == whole


def test_what_decides_an_answer_is_compared(given, questions, smoke, monkeypatch):
    given()
    assert given(asker="model", digest="n")[1] == 27
    assert given(asker="how", max_new_tokens=3)[1] == 27
    assert given(asker="preset", preset="authors_released")[1] == 27
    assert given(asker="form", prompts={**dict.fromkeys(("vqa", "refer", "caption"), smoke.stage1.prompt)})[1] == 27
    assert given(asker="threads", settings=smoke.runtime.model_copy(update={"threads": 99}))[1] == 27
    assert given(asker="questions", some=questions[1:])[1] == 26
    monkeypatch.setattr(answer_store, "CODE", (*CODE, "data/boxes.py"))
    assert given(asker="code")[1] == 27


def test_other_words_of_a_benchmark_are_asked(given, questions):
    given()
    spoken = replace(questions.asks[0].benchmark, instruction=lambda preset, task, content, truth: f"say: {content}")
    asks = [replace(questions.asks[0], benchmark=spoken), *questions.asks[1:]]
    others = Questions(asks, questions._rows, questions.places)
    assert others.digest == questions.digest
    assert given(some=others)[1] == 10, "of three blocks one has such words"
    chosen = replace(questions.asks[2].benchmark, choices=lambda truth: ("red", "a circle"))
    others = Questions([*asks[:2], replace(asks[2], benchmark=chosen)], questions._rows, questions.places)
    said, put = given(some=others)
    assert put == 17 and [len(answer.choices) for _, answer in said] == [0] * 18 + [2] * 9


def test_an_answer_is_what_it_was(tmp_path, smoke):
    with AnswerStore.opened(tmp_path, "one", smoke.runtime) as store:
        kept = store.answers("m", "q", {}, 9)
        kept.write(3, "asked", [SAID])
        assert kept.read(3, "asked") == [SAID]
        assert kept.read(2, "asked") is None and store.answers("n", "q", {}, 9).read(3, "asked") is None


def test_the_store_keeps_what_each_asker_used_last(tmp_path, smoke):
    def run(asker, *models, ends=True):
        with AnswerStore.opened(tmp_path, asker, smoke.runtime) as store:
            for model in models:
                store.answers(model, "q", {}, 9).write(0, "asked", [SAID])
            if not ends:
                raise KeyboardInterrupt

    def kept():
        return len([path for path in tmp_path.iterdir() if path.name != "askers"])

    run("evaluate", "a", "b")
    run("quantize", "b", "c")
    assert kept() == 3
    run("evaluate", "a", "d")
    assert kept() == 4, "another one still uses b"
    run("quantize", "c")
    assert kept() == 3, "nobody uses b"
    with pytest.raises(KeyboardInterrupt):
        run("quantize", "e", ends=False)
    assert kept() == 4
    run("evaluate", "d")
    assert kept() == 3, "what a stopped run has is there for the next one, and so is what the run before it used"
    run("quantize", "e")
    assert kept() == 2
    (tmp_path / "askers" / "quantize.json").write_text("{")
    run("evaluate", "d")
    assert kept() == 1, "a damaged note costs asking again"


def test_the_key_names_the_code_that_decides_an_answer():
    graph = grimp.build_graph("tinygptv", include_external_packages=False, exclude_type_checking_imports=True)
    reached = {"tinygptv.evaluation.stages", "tinygptv.model.package"}
    waiting = ["tinygptv.evaluation.asking", *reached]
    while waiting:
        for module in graph.find_modules_directly_imported_by(waiting.pop()) - reached:
            reached.add(module)
            waiting.append(module)
    files = {SOURCE / f"{name.replace('.', '/')}.py" for name in reached}
    files = {path for path in files if path.is_file()}
    named = {path for pattern in CODE for path in (SOURCE / "tinygptv").glob(pattern)}
    others = {path.relative_to(SOURCE / "tinygptv").as_posix() for path in files - named}
    others = {name for name in others if not name.startswith(("config/", "ground/"))}
    assert others == set(DECIDES_NOTHING)

"""A question whose numbers are none gets an error, on every way to the model; those asked with it get their answers."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from tests.serving.helpers import encoded, models_of, pictures, post_all, question, said, strong_model, talk
from tinygptv.evaluation.asking import ask
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.presets import stage_asking
from tinygptv.evaluation.questions import open_questions
from tinygptv.evaluation.rows import answer_rows
from tinygptv.ground.errors import NotFiniteError

BREAKS = encoded(Image.new("RGB", (24, 24), (10, 200, 30)))
"""A picture of one colour, with which the model below computes nonsense."""
GOOD = pictures(3)


@pytest.fixture(scope="module")
def fragile(make_model, processor):
    """A model whose tower fails for a picture of one colour. Read only."""
    model = strong_model(make_model(seed=4), processor, seed=4)

    def fail(module, inputs, features_NQD):
        plain_N = inputs[0].flatten(2).std(dim=2).sum(dim=1) < 1e-4
        return features_NQD.masked_fill(plain_N[:, None, None], float("nan"))

    model.model.image_encoder.register_forward_hook(fail)
    return model


@pytest.fixture(scope="module")
def expected(fragile):
    answers = fragile.answer(GOOD, ["why"] * 3)
    assert all(answers), "they must not be empty for this test to mean something"
    return answers


def test_a_model_raises(fragile):
    with pytest.raises(NotFiniteError, match="logits are not finite"):
        fragile.answer([BREAKS], ["why"])
    with pytest.raises(NotFiniteError):
        fragile.answer([*GOOD, BREAKS], ["why"] * 4)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_every_number_that_is_none_is_seen(make_model, processor, value):
    model = strong_model(make_model(seed=4), processor, seed=4)
    with torch.no_grad():
        model.model.language_model.lm_head.bias[7] = value
    with pytest.raises(NotFiniteError):
        model.answer(GOOD[:1], ["why"])
    inputs = processor(text=["###Human: why ###Assistant: "])
    with pytest.raises(NotFiniteError):
        model.model.generate(**inputs, do_sample=False, max_new_tokens=2)  # as transformers' pipelines do
    with pytest.raises(NotFiniteError):
        model.model.generate(**inputs, do_sample=True, max_new_tokens=2)


def test_the_service_answers_the_others(fragile, expected, tmp_path):
    models = models_of(tmp_path, {"one": fragile})
    one = models.sources[0]

    async def act(client, engine):
        bodies = [question(one, image, "why") for image in (GOOD[0], BREAKS, GOOD[1], BREAKS, GOOD[2])]
        return await post_all(client, bodies), await post_all(client, [question(one, GOOD[0], "why")])

    (first, bad, second, worse, third), (after,) = talk(models, act)
    assert [said(response) for response in (first, second, third, after)] == [*expected, expected[0]]
    for response in (bad, worse):
        assert response.status_code == 500
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"]) == ("server_error", "not_finite")
        assert "not finite" in error["message"]


def test_a_tables_other_rows_are_answered(fragile, expected):
    replies = answer_rows(fragile, [GOOD[0], BREAKS, GOOD[1], GOOD[2], BREAKS], ["why"] * 5)
    assert [reply.answer for reply in replies] == [expected[0], None, expected[1], expected[2], None]
    assert all("not finite" in reply.error for reply in (replies[1], replies[4]))


def test_an_evaluation_stops(fragile, small_shards, smoke):
    questions = open_questions(small_shards, "test", asks_of(smoke))[:2]
    fragile.model.projector.linear_1.bias.data[0] = float("nan")
    with pytest.raises(NotFiniteError):
        list(ask(lambda: fragile, "", questions, stage_asking(smoke, "stage4", "as_trained"), None))

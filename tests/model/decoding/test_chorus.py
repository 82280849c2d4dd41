"""Answers that join others between two tokens are those said alone, wherever keys and values lie."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from tests.serving.helpers import QUESTIONS, strong_model
from tinygptv.model.decoding.chorus import Chorus, Speech
from tinygptv.model.decoding.decoder import Decoder
from tinygptv.model.decoding.slots import Slots
from tinygptv.model.inference import VisionLanguageModel

COUNT, LONGEST = 24, 70
"""Answers; tokens of the longest."""


@pytest.fixture(scope="module")
def model(make_model, processor) -> VisionLanguageModel:
    """Read only."""
    return strong_model(make_model(seed=11), processor, seed=4)


@pytest.fixture(scope="module")
def features_BQD() -> torch.Tensor:
    return 3 * torch.randn(COUNT, 4, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return [f"###Human: <ImageHere> {' '.join(QUESTIONS[: 1 + i % 4])} ###Assistant: " for i in range(COUNT)]


@pytest.fixture(scope="module")
def limits() -> list[int]:
    return [LONGEST if i % 8 == 0 else 1 + i % 9 for i in range(COUNT)]


@pytest.fixture(scope="module")
def alone(model, features_BQD, prompts, limits) -> list[tuple[str, int, bool]]:
    said = [model.generate(features_BQD[[i]], [prompts[i]], max_new_tokens=limits[i])[0] for i in range(COUNT)]
    assert len({answer.text for answer in said}) > COUNT // 2, "they must differ for this test to mean something"
    return [(answer.text, answer.tokens, answer.cut) for answer in said]


@pytest.mark.parametrize("graphs", [False, True])
def test_who_joins_between_two_tokens_says_what_it_says_alone(
    model, features_BQD, prompts, limits, alone, graphs, monkeypatch
):
    made: list[tuple[int, int]] = []
    first = Slots.__init__
    monkeypatch.setattr(Slots, "__init__", lambda self, *a, **n: made.append(a[1:]) or first(self, *a, **n))
    chorus, told = Chorus(Decoder(model.model, graphs=graphs)), [""] * COUNT
    speeches = [model.speech(limit, on_text=_into(told, i)) for i, limit in enumerate(limits)]
    waiting, draw = list(range(COUNT)), random.Random(0)
    most = 0
    while waiting or chorus.going:
        some = [waiting.pop(0) for _ in range(min(len(waiting), draw.choice((0, 0, 1, 3))))]
        if some:
            model.join(chorus, features_BQD[some], [prompts[i] for i in some], [speeches[i] for i in some])
        most = max(most, chorus.going)
        chorus.step()
    assert most > 4
    found = [model.generated(speech) for speech in speeches]
    assert [(answer.text, answer.tokens, answer.cut) for answer in found] == alone
    assert told == [answer.text for answer in found]
    if graphs:
        assert len(made) == len(set(made)) < 6, "of each shape once"


def _into(told: list[str], number: int) -> Callable[[str], None]:
    def on_text(text: str) -> None:
        assert text.startswith(told[number]) and text != told[number]
        told[number] = text

    return on_text


@pytest.mark.parametrize("graphs", [False, True])
def test_who_leaves_makes_room_at_once(model, features_BQD, prompts, alone, graphs):
    chorus = Chorus(Decoder(model.model, graphs=graphs))
    speeches = [model.speech(LONGEST) for _ in range(9)]
    model.join(chorus, features_BQD[:9], prompts[:9], speeches)
    chorus.step()
    assert chorus.going == 9
    for speech in speeches[1:]:
        speech.left = True
    chorus.step()
    assert chorus.going == 1
    model.join(chorus, features_BQD[[8]], prompts[8:9], [model.speech(LONGEST)])
    assert len(chorus._slots.rows_B) == 2, "a captured step of sixteen rows would compute fourteen for nobody"
    _to_the_end(chorus)
    assert (model.generated(speeches[0]).text, len(speeches[0].ids)) == alone[0][:2]
    assert all(len(speech.ids) <= 3 for speech in speeches[1:])


@pytest.mark.parametrize("graphs", [False, True])
def test_one_whose_numbers_are_none_ends_alone(model, features_BQD, prompts, limits, alone, graphs):
    chorus = Chorus(Decoder(model.model, graphs=graphs))
    bad_BQD = features_BQD[:4].clone()
    bad_BQD[2] = float("nan")
    speeches = [model.speech(limits[i]) for i in range(4)]
    model.join(chorus, bad_BQD, prompts[:4], speeches)
    _to_the_end(chorus)
    assert [speech.error is None for speech in speeches] == [True, True, False, True]
    again = model.speech(limits[2])
    model.join(chorus, features_BQD[[2]], [prompts[2]], [again])
    _to_the_end(chorus)
    speeches[2] = again
    assert [model.generated(speech).text for speech in speeches] == [text for text, *_ in alone[:4]]


def test_each_token_is_told_as_it_comes(model, features_BQD, prompts):
    told: list[tuple[int, int]] = []
    chorus, speeches = Chorus(model.decoder), [model.speech(5) for _ in range(4)]
    for row, speech in enumerate(speeches):
        speech.on_token = lambda token, row=row: told.append((row, token))
    model.join(chorus, features_BQD[:4], prompts[:4], speeches)
    _to_the_end(chorus)
    assert [[token for row, token in told if row == number] for number in range(4)] == [one.ids for one in speeches]
    counts = [len(speech.ids) for speech in speeches]
    assert [row for row, _ in told] == [row for n in range(5) for row in range(4) if n < counts[row]], "step by step"


def test_an_answer_of_no_token_has_none():
    speech = Speech((), 0)
    speech.hear(3, -1.0, 1.0)
    assert (speech.ids, speech.cut, speech.over) == ([], True, True)


def _to_the_end(chorus: Chorus) -> None:
    while chorus.going:
        chorus.step()

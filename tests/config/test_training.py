"""Stages that look at their held-out part: which step uses it of which data sets."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tinygptv.config import Config, Validation
from tinygptv.ground import score_code

LOOKS = {"every": 5, "batches": 2, "questions": None, "keep": "loss", "patience": None}


def looking(config: Config, name: str, **changes: object) -> Config:
    stage = config.stage(name).model_copy(update={"validation": Validation.model_validate(LOOKS), **changes})
    return config.model_copy(update={name: stage})


def test_without_a_stage_that_looks_nothing_uses_a_held_out_part(smoke: Config) -> None:
    assert smoke.uses.keys() == {"sets", "cached"}  # the bytes that DVC knows


def test_a_stage_that_looks_uses_the_held_out_part_of_its_sets_and_so_does_features(smoke: Config) -> None:
    assert looking(smoke, "stage4").uses["held_out"] == {"stage4": ["easy_vqa"], "features": ["easy_vqa"]}


def test_features_encode_no_held_out_part_for_a_stage_that_encodes_in_its_loop(smoke: Config) -> None:
    assert looking(smoke, "stage4", features="in_loop").uses["held_out"] == {"stage4": ["easy_vqa"]}


def test_a_stage_without_epochs_looks_at_nothing(smoke: Config) -> None:
    assert "held_out" not in looking(smoke, "stage4", epochs=0).uses


def test_a_score_is_of_questions() -> None:
    with pytest.raises(ValidationError, match="keep: `score` needs a number of `questions`"):
        Validation.model_validate({**LOOKS, "keep": "score"})
    assert Validation.model_validate({**LOOKS, "keep": "score", "questions": 8}).questions == 8


def test_a_stage_that_asks_questions_trains_again_when_other_code_counts(
    smoke: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = {"validation": Validation.model_validate({**LOOKS, "questions": 8})}
    assert looking(smoke, "stage4").scored == {}
    assert looking(smoke, "stage4", **asking, epochs=0).scored == {}
    (before,) = looking(smoke, "stage4", **asking).scored.values()
    monkeypatch.setattr(score_code, "SCORE_CODE", score_code.SCORE_CODE[1:])
    assert looking(smoke, "stage4", **asking).scored != {"stage4": before}


@pytest.mark.parametrize("key", sorted(LOOKS.keys() - {"keep"}))
@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True])
def test_counts_are_whole_and_positive(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Validation.model_validate({**LOOKS, key: value})

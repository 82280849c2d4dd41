"""What a stage cuts is told: of which data set, how many of how many, on the terminal and in the step's run."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tinygptv.config import Config
from tinygptv.steps.train import log_cuts

CUTS = {
    "llava_reason": {"answers": 200, "cut_answers": 20, "left_out_turns": 0, "unseen": 0},
    "talks": {"answers": 90, "cut_answers": 1, "left_out_turns": 30, "unseen": 0},
    "gqa": {"answers": 1000, "cut_answers": 0, "left_out_turns": 0, "unseen": 0},
}


def told(cuts: dict[str, dict[str, int]], smoke: Config) -> dict[str, float]:
    """The numbers that the step's run gets."""
    sent: dict[str, float] = {}
    log_cuts(SimpleNamespace(step="stage4", run=SimpleNamespace(metrics=sent.update)), smoke.stage4, cuts)
    return sent


def test_cut_answers_and_left_out_turns_are_told_by_data_set(smoke: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(CUTS, smoke) == {
        **{"answers": 1290, "cut_answers": 21, "left_out_turns": 30, "unseen": 0},
        **{"cut_answers.llava_reason": 20, "answers.llava_reason": 200},
        **{"cut_answers.talks": 1, "answers.talks": 90, "left_out_turns.talks": 30},
    }
    length, room = smoke.stage4.max_answer_tokens, f"max_sequence_tokens {smoke.stage4.max_sequence_tokens}"
    assert capsys.readouterr().out.splitlines() == [
        f"stage4: 21 of 1290 answers are cut, to max_answer_tokens {length} or what {room} leaves them (llava_reason "
        "20 of 200, talks 1 of 90)",
        f"stage4: 30 of 1290 turns are left out: {room} has no room for them (talks 30 of 90)",
    ]


def test_an_estimate_says_that_it_is_one(smoke: Config, capsys: pytest.CaptureFixture[str]) -> None:
    told({"talks": CUTS["talks"] | {"unseen": 5}}, smoke)
    assert "stage4: about 1 of 90 answers are cut" in capsys.readouterr().out


def test_nothing_cut_is_numbers_and_no_line(smoke: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert told({"gqa": CUTS["gqa"]}, smoke) == CUTS["gqa"]
    assert capsys.readouterr().out == ""


def test_training_counts_what_it_cuts(checkout, run, capfd):
    checkout.edit("max_answer_tokens: 48", "max_answer_tokens: 3")
    assert run(checkout, "stage1") == 0
    found = json.loads((checkout.data / "stage1" / "cuts.json").read_bytes())
    count = found["easy_vqa/caption"]["answers"]
    counts = {"answers": count, "cut_answers": count, "left_out_turns": 0, "unseen": 0}
    assert found == {"easy_vqa/caption": counts} and count > 20
    told = f"{count} of {count} answers are cut, to max_answer_tokens 3 or what max_sequence_tokens 256 leaves them"
    assert f"stage1: {told} (easy_vqa/caption {count} of {count})\n" in capfd.readouterr().out

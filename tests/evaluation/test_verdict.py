"""The verdict: what is learned beyond the baselines, and which cause is told where nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from tinygptv.evaluation.verdict import LastTraining, verdict

FALLEN = [4.0, 2.0, 1.0, 0.8, 0.7, 0.62, 0.6, 0.6, 0.6, 0.6]


def figures(value: float | None, ci95: list[float] | None, n: int = 1000, cut: int = 0, **baselines: float) -> Any:
    none = dict.fromkeys(("blind", "majority", "trivial", "chance"))
    return {"value": value, "ci95": ci95, "n": n, "cut": cut, **none, **baselines}


def training(
    losses: list[float], looks: list[float] | None = None, cut: int = 0, records: int = 5000, passes: float = 3.0
) -> LastTraining:
    history = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    for point, look in zip(history, looks or [], strict=False):
        point["validation_loss"] = look
    counts = {"answers": 1000, "cut_answers": cut, "left_out_turns": 0, "unseen": 0}
    return LastTraining(stage="stage4", history=history, cuts={"cats": counts}, records=records, passes=passes)


NOTHING = {"cats": figures(0.50, [0.47, 0.53], majority=0.4, blind=0.55)}


def test_above_every_baseline_with_its_whole_interval_is_learned() -> None:
    entries = {"cats": figures(0.91, [0.88, 0.94], majority=0.4, blind=0.55), "dogs": figures(1.2, None, trivial=0.3)}
    assert verdict(entries, training(FALLEN)) == (
        "The model learned to use the images: cats 0.91 against 0.55 for the question alone, "
        "dogs 1.20 against 0.30 for one answer to all."
    )


def test_what_is_learned_and_what_is_not_are_told_apart() -> None:
    told = verdict({**NOTHING, "dogs": figures(0.9, [0.8, 0.95], chance=0.5)}, training(FALLEN))
    assert "for a part of what is asked: dogs 0.90 against 0.50 by chance." in told
    assert "nothing beyond answers that need no image: cats 0.50 against 0.55 for the question alone." in told
    assert told.count("Likely cause") == 1


@pytest.mark.parametrize(("n", "few"), [(40, True), (4000, False)])
def test_a_lead_within_the_interval_may_be_luck(n: int, few: bool) -> None:
    told = verdict({"cats": figures(0.6, [0.4, 0.8], n=n, majority=0.5)}, training(FALLEN))
    assert "may be luck" in told and "learned" not in told.partition("Likely cause")[0]
    assert (f"{n} questions are few (hold out more by `split`)" in told) == few


@pytest.mark.parametrize("entries", [{}, {"cats": figures(None, None, majority=0.4)}, {"cats": figures(0.4, None)}])
def test_without_a_number_or_a_baseline_nothing_is_claimed(entries: Any) -> None:
    told = verdict(entries, training(FALLEN))
    assert told.startswith("Nothing says whether the model learned anything") and "cause" not in told


CAUSES = {
    "400 of 1000 cut": (training(FALLEN, cut=400), ("40% of the training answers are cut", "stage4.max_answer_tokens")),
    "by heart": (training(FALLEN, [2.0, 1.0, 1.2, 1.6], records=80), ("too few records (80)", "rose from 1 to 1.6")),
    "hardly fell": (training([4.0, 3.9, 3.9, 3.8]), ("a wrong start", "hardly fell (4 to 3.8)", "`init`")),
    "hardly met": (
        training([4.0, 3.9], passes=0.15),
        ("too short: of 5,000 records each was met 0.15 times", "stage4.steps_per_epoch"),
    ),
    "falling": (training([4.0, 3.0, 2.5, 2.0, 1.5]), ("too short", "(4 to 1.5)", "stage4.steps_per_epoch")),
    "held out falls": (training(FALLEN, [4.0, 3.5, 3.0, 2.0]), ("too short", "(4 to 2)")),
    "few": (training(FALLEN, records=60), ("too few records: it trained on 60",)),
    "at rest": (training(FALLEN), ("a wrong start", "came to rest", "`init`")),
    "no epochs": (training([]), ("No stage trained here",)),
    "none": (None, ("No stage trained here",)),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_likeliest_cause_is_told_with_what_to_change(name: str) -> None:
    last, words = CAUSES[name]
    told = verdict(NOTHING, last)
    assert told.startswith("It learned nothing beyond answers that need no image: cats 0.50 against 0.55")
    assert [word for word in words if word not in told] == []
    assert "\n" not in told and told.endswith(".")


def test_answers_that_do_not_end_are_a_cause() -> None:
    told = verdict({"cats": figures(0.1, [0.05, 0.2], cut=900, majority=0.5)}, training(FALLEN))
    assert "cut answers: 90% of them had not ended; raise evaluate.max_new_tokens" in told


def test_of_many_benchmarks_some_are_named() -> None:
    told = verdict({f"set_{i}": figures(0.9, [0.8, 1.0], chance=0.5) for i in range(40)}, None)
    assert "more" in told and len(told) < 800

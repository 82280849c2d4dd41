"""The gate on metrics that are no shares of right answers: better passes, worse is refused, undefined is said."""

from __future__ import annotations

import numpy as np
import pytest

from tests.promotion.test_decide import AS, GATE, decide, measured, registered
from tinygptv.evaluation.benchmarks.seam import Metric, each, mean
from tinygptv.evaluation.metrics.ranking import auroc
from tinygptv.evaluation.statistics import number
from tinygptv.evaluation.tally import DecidingColumns
from tinygptv.promotion.decide import Asked

N = 400
CLASSES = np.arange(N) % 2
AUROC = Metric(
    name="auroc", variant="area", columns=each(lambda *_: ()), value=auroc, additive=False, undefined="one class alone"
)
ACCURACY = Metric(name="accuracy", variant="leave one out", columns=each(lambda *_: ()), value=mean)
LIMITS = GATE.model_copy(update={"min_value": {"easy_vqa": 0.5}})


def ranks(noise, seed=1):
    """What the area keeps: how far the classes lie apart, in noise."""
    return np.stack([CLASSES, CLASSES + np.random.default_rng(seed).normal(size=N) * noise, np.ones(N)], axis=1)


def thirds(least, seed=1):
    """A mean of the values that VQA accuracy has."""
    return np.random.default_rng(seed).integers(least, 4, size=N)[:, None] / 3


def judge(metric, challenger, champion, images=range(N), told=None):
    both = [
        measured(answered=N, columns={"easy_vqa": DecidingColumns(metric, columns_QC, images)})
        for columns_QC in (challenger, champion)
    ]
    value = number(metric, challenger) if told is None else told
    return decide(*both, registered(value, N), registered(0.5, N), LIMITS, Asked(count=N, digest="all"))


GOOD = [(AUROC, ranks(1.0)), (ACCURACY, thirds(1))]
BAD = [(AUROC, ranks(3.0)), (ACCURACY, thirds(0))]


@pytest.mark.parametrize(("good", "bad"), zip(GOOD, BAD, strict=True), ids=["auroc", "vqa"])
def test_better_passes_and_worse_does_not(good, bad):
    (metric, better), (_, worse) = good, bad
    passed = judge(metric, better, worse)
    assert passed.passed, passed.reasons
    reached = passed.rows[1]
    assert (reached.value, reached.champion) == (number(metric, better), number(metric, worse))
    assert reached.note == f"{metric.name}, n {N}"
    assert judge(metric, better, better).passed
    assert judge(metric, worse, worse).passed
    (reason,) = judge(metric, worse, better).reasons
    assert reason.startswith("easy_vqa against champion: difference -0.")
    assert reason.endswith(": may be worse by more than 0.0200")


def test_questions_of_one_image_are_drawn_together():
    """Right or wrong by twenties: what a single question would make sure, twenty images do not."""
    better = np.repeat((np.arange(20) % 4 > 0).astype(float), 20)[:, None]
    worse = np.repeat((np.arange(20) % 4 > 1).astype(float), 20)[:, None]
    by_image, alone = (judge(ACCURACY, better, worse, images) for images in (np.arange(N) // 20, range(N)))
    lows = [decision.rows[3].value for decision in (by_image, alone)]
    assert lows[0] < lows[1] - 0.1


@pytest.mark.parametrize("value", [0.99, 0.01])
@pytest.mark.parametrize(("metric", "columns"), GOOD, ids=["auroc", "vqa"])
def test_a_number_that_was_edited_is_not_believed(metric, columns, value):
    reached = number(metric, columns)
    assert judge(metric, columns, columns, told=value).reasons == (f"{AS}{value:.4f}, measured were {reached:.4f}",)


def test_what_is_undefined_is_refused_and_said():
    one_class = ranks(1.0) * [0.0, 1.0, 1.0]
    decision = judge(AUROC, one_class, one_class, told=0.7)
    assert decision.reasons == (
        f"easy_vqa: auroc, n {N}, undefined: one class alone",
        f"{AS}0.7000, measured was no number",
        "easy_vqa against champion: cannot pair: auroc is undefined: one class alone",
    )
    nothing = np.full((N, 1), np.nan)
    assert "easy_vqa: accuracy, n 0, 400 do not count, undefined: no question counts" in (
        judge(ACCURACY, nothing, nothing, told=0.7).reasons
    )


def test_answers_that_do_not_count_do_not_make_a_model_better():
    champion = thirds(0)
    challenger = np.where(champion < 0.5, np.nan, champion)
    lost = int(np.isnan(challenger).sum())
    decision = judge(ACCURACY, challenger, champion)
    assert f"easy_vqa against champion: {lost} answers do not count where the champion's do" in decision.reasons
    assert f"easy_vqa samples: {N - lost} samples, the champion had {N}" in decision.reasons
    both = judge(ACCURACY, challenger, challenger)
    assert both.rows[1].note == f"accuracy, n {N - lost}, {lost} do not count"

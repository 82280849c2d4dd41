"""CIDEr-D and BLEU-4, against COCO's own chain with its Java, the package's corpus numbers, and slow transcriptions."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from tinygptv.evaluation.metrics import captions as metric
from tinygptv.evaluation.metrics.caption_words import words

TRUE = [
    ["A man's dog doesn't run on the grass.", "A dog is standing in the grass, next to a man.",
     "the brown dog (small) stands still", "Dog on grass; man nearby."],
    ["Two red double-decker buses parked at 10:30 a.m. on St. James street.",
     "Two buses -- both red -- in the U.K.", "A couple of double-decker buses are on the street."],
    ['A "STOP" sign that\'s covered in stickers!', "A stop sign with 3 stickers on it.",
     "There's a red stop sign & some stickers.", "A sign which says 'stop'."],
    ["A black/white photo of a woman...", "Black and white picture of the woman with an umbrella",
     "an old photo of a woman, 1950's style."],
    ["A plate with 1/2 of a sandwich and $5 on it.", "half a sandwich on a white plate"],
    ["Can't see anyone; cannot tell where they're going?!", "People are gonna ride the train.",
     "The train's arriving at the station"],
]  # fmt: skip
SAID = [
    "A dog standing in the grass.",
    "two red double-decker buses on the street",
    "a red STOP sign that's covered with stickers",
    "a black and white photo",
    "",
    "Cannot see where the train's going?! \U0001f600",
]
CIDER = [1.564853980839663, 2.3019400273477126, 2.9769938824033564, 1.0130800881302595, 0.0, 1.4347988638719842]
BLEU_4 = 0.45460622057955574
"""What pycocoevalcap 1.2 gives, with its own tokenizer on Java 17."""


@pytest.fixture(scope="module")
def thousand():
    """True captions and predictions with marks, articles, numbers, contractions and what is said twice."""
    draw = random.Random(15)
    vocabulary = ["a", "an", "the", "man", "dog's", "isn't", "can't", "2", "3.5", "red,", "blue;", "street.", "(small)"]
    vocabulary += ["double-decker", "and/or", "\u00e9t\u00e9", "it's"]

    def caption(longest=14):
        return " ".join(draw.choice(vocabulary) for _ in range(draw.randrange(longest)))

    true = [[caption() for _ in range(draw.randrange(1, 6))] for _ in range(1000)]
    said = [draw.choice(texts) if draw.random() < 0.3 else caption(20) for texts in true]
    return true, said


def value(counts, weights=None) -> float:
    return metric.bleu(counts, np.ones(len(counts)) if weights is None else weights)


def cut(true, said):
    """Both as the package wants them."""
    return (
        {number: [" ".join(words(text)) for text in texts] for number, texts in enumerate(true)},
        {number: [" ".join(words(text))] for number, text in enumerate(said)},
    )


def ngrams(text, n):
    parts = text.split()
    return Counter(tuple(parts[place : place + n]) for place in range(len(parts) - n + 1))


def slow_bleu(true, said) -> float:
    """Papineni et al. 2002: shares of n-grams that some true caption has as often, and a penalty for being short."""
    found, all_, length, nearest = [0] * 4, [0] * 4, 0, 0
    for number, (text,) in said.items():
        length += len(text.split())
        nearest += min((abs(len(one.split()) - len(text.split())), len(one.split())) for one in true[number])[1]
        for n in range(1, 5):
            for gram, times in ngrams(text, n).items():
                found[n - 1] += min(times, max(ngrams(one, n)[gram] for one in true[number]))
                all_[n - 1] += times
    shares = [right / of for right, of in zip(found, all_, strict=True)]
    return math.exp(sum(map(math.log, shares)) / 4) * min(1.0, math.exp(1 - nearest / length))


def slow_cider(true, said) -> list[float]:
    """Vedantam et al. 2015, equations 2 to 4 with the clipping and the Gaussian of CIDEr-D."""
    rare = Counter(
        gram for texts in true.values() for gram in {g for t in texts for n in range(1, 5) for g in ngrams(t, n)}
    )

    def weighed(text, n):
        return {
            gram: times * (math.log(len(true)) - math.log(max(1, rare[gram])))
            for gram, times in ngrams(text, n).items()
        }

    def length(vector):
        return math.sqrt(sum(weight**2 for weight in vector.values()))

    scores = []
    for number, (text,) in said.items():
        total = 0.0
        for one in true[number]:
            # the package measures a caption's length by its pairs of words
            longer = sum(ngrams(text, 2).values()) - sum(ngrams(one, 2).values())
            for n in range(1, 5):
                ours, theirs = weighed(text, n), weighed(one, n)
                common = sum(
                    min(weight, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, weight in ours.items()
                )
                scale = length(ours) * length(theirs)
                total += (common / scale if scale else common) * math.exp(-(longer**2) / (2 * 6.0**2)) / 4
        scores.append(10 * total / len(true[number]))
    return scores


def test_both_numbers_are_those_of_cocos_own_chain_with_java():
    assert metric.cider(TRUE, SAID)[:, 0].tolist() == CIDER
    assert value(metric.bleu_counts(TRUE, SAID)) == BLEU_4


def test_1000_captions_have_the_packages_numbers_to_the_last_digit(thousand):
    true, said = thousand
    mean, each = Cider().compute_score(*cut(true, said))
    found = metric.cider(true, said)
    assert found[:, 0].tolist() == each.tolist()
    assert (found[:, 0] * np.ones(1000)).sum() / 1000 == mean
    assert value(metric.bleu_counts(true, said)) == Bleu(4).compute_score(*cut(true, said), verbose=0)[0][3]


def test_1000_captions_have_the_published_definitions_numbers(thousand):
    true, said = thousand
    assert metric.cider(true, said)[:, 0].tolist() == pytest.approx(slow_cider(*cut(true, said)), rel=1e-9)
    assert value(metric.bleu_counts(true, said)) == pytest.approx(slow_bleu(*cut(true, said)), rel=1e-9)
    assert 0.1 < slow_bleu(*cut(true, said)) < 0.9


def test_bleu_of_drawn_images_is_bleu_of_their_captions(thousand):
    true, said = thousand
    counts, weights = metric.bleu_counts(true, said), np.arange(1000) % 3
    drawn = [place for place, times in enumerate(weights) for _ in range(times)]
    assert value(counts, weights) == value(metric.bleu_counts([true[p] for p in drawn], [said[p] for p in drawn]))


def test_what_is_undefined_has_no_number():
    assert np.isnan(metric.cider(TRUE[:1], SAID[:1])).all()
    assert math.isnan(value(metric.bleu_counts(TRUE, SAID), np.zeros(6)))
    assert metric.cider([], []).shape == (0, 1)
    assert metric.bleu_counts([], []).shape == (0, 10)


def test_captions_of_which_nothing_is_found_are_as_good_as_nothing():
    assert metric.cider(TRUE, ["zebra"] * 6).tolist() == [[0.0]] * 6
    assert value(metric.bleu_counts(TRUE, ["zebra"] * 6)) < 1e-3
    assert value(metric.bleu_counts(TRUE, [""] * 6)) == 0.0


def test_without_the_package_there_are_no_numbers(monkeypatch):
    monkeypatch.setattr(metric, "HAS_PACKAGE", False)
    assert np.isnan(metric.cider(TRUE, SAID)).all()
    assert np.isnan(metric.bleu_counts(TRUE, SAID)).all()

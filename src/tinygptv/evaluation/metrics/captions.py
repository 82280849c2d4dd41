"""Captions against several true ones: CIDEr-D and BLEU-4 as COCO's own scripts count them, without their Java.

pycocoevalcap counts n-grams and weighs them. It is an extra (`captions`), as its wheel holds 100 MB of Java's programs,
of which the tokenizer is replaced (``caption_words.py``) and the others, METEOR and SPICE, are not asked.

Shapes: Q images, C numbers that BLEU keeps of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from tinygptv.evaluation.metrics.caption_words import words

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Numbers

HAS_PACKAGE = find_spec("pycocoevalcap") is not None
N = 4
"""Longest n-grams that are counted."""
_SMALL, _TINY = 1e-9, 1e-15
"""What the package adds below and above a fraction, so that nothing found is 0 and nothing said is no error."""


def cider(true: Sequence[Iterable[str]], captions: Sequence[str]) -> Numbers:
    """CIDEr-D of each caption [Q, 1], 0..10; the rarer an n-gram is among all true captions, the more it weighs.

    NaN without the package, and of a single image, where nothing is rarer than anything else.
    """
    if not HAS_PACKAGE or len(captions) < 2:
        return np.full((len(captions), 1), np.nan)
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    scorer = CiderScorer(n=N)
    for pair in _cut(true, captions):
        scorer += pair
    return np.asarray(scorer.compute_score()[1], dtype=np.float64)[:, None]


def bleu_counts(true: Sequence[Iterable[str]], captions: Sequence[str]) -> Numbers:
    """What BLEU needs of each caption [Q, 2 N + 2], so that sums of it make the number of any images.

    Found n-grams and all n-grams, by n from 1 to N; its words, and those of the true caption that is nearest in length.
    NaN without the package.
    """
    if not HAS_PACKAGE:
        return np.full((len(captions), 2 * N + 2), np.nan)
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    rows = []
    for caption, texts in _cut(true, captions):
        counts = cook_test(caption, cook_refs(texts, n=N), eff="closest", n=N)
        rows.append([*counts["correct"], *counts["guess"], counts["testlen"], counts["reflen"]])
    return np.asarray(rows, dtype=np.float64).reshape(len(captions), 2 * N + 2)


def bleu(counts_QC: Numbers, weights_Q: Numbers) -> float:
    """BLEU-N of weighted images: the geometric mean of the shares of n-grams found, cut where captions are short."""
    if not weights_Q.any():
        return math.nan
    totals = (weights_Q @ counts_QC).tolist()
    found, all_, said, nearest = totals[:N], totals[N : 2 * N], totals[-2], totals[-1]
    product = 1.0
    for right, of in zip(found, all_, strict=True):
        product *= (right + _TINY) / (of + _SMALL)
    value: float = product ** (1 / N)
    ratio = (said + _TINY) / (nearest + _SMALL)
    return value * math.exp(1 - 1 / ratio) if ratio < 1 else value


def _cut(true: Sequence[Iterable[str]], captions: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Captions and the true ones, as words with spaces between them, which the package wants."""
    for texts, caption in zip(true, captions, strict=True):
        yield " ".join(words(caption)), [" ".join(words(text)) for text in texts]

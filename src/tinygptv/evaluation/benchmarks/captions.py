"""Captions by CIDEr and BLEU-4: COCO's, and those of one's own, whose right answers are the true captions.

Sources: Chen et al. 2015 (arXiv 1504.00325), Vedantam et al. 2015 (arXiv 1411.5726), Papineni et al. 2002; the scripts
are github.com/tylin/coco-caption, in Python 3 pycocoevalcap. The authors of TinyGPT-V publish no such number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.benchmarks.exact_match import text_of
from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, mean
from tinygptv.evaluation.benchmarks.submissions import as_given, name, text
from tinygptv.evaluation.metrics.captions import HAS_PACKAGE, bleu, bleu_counts, cider

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Numbers, Truth

_ABSENT = "" if HAS_PACKAGE else "pycocoevalcap is not installed; pip install 'tinygptv[captions]'"
_WORDS = "words as CoreNLP 3.4.1 cuts them, without Java"


def _cider(truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Numbers:
    return cider([truth["answers"] for truth in truths], [prediction.answer for prediction in predictions])


def _bleu(truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Numbers:
    return bleu_counts([truth["answers"] for truth in truths], [prediction.answer for prediction in predictions])


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    return name(entry, "image_id"), Prediction(answer=text(entry, "caption"))


def _write(id_: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    return {"image_id": as_given(id_), "caption": prediction.answer}


CIDER = Metric(
    name="cider",
    variant=f"CIDEr-D of pycocoevalcap 1.2 (0..10), document frequency of these true captions; {_WORDS}",
    columns=_cider,
    value=mean,
    whole=True,
    undefined=_ABSENT or "there is one image, in whose captions nothing is rarer than in others",
)
BLEU_4 = Metric(
    name="bleu_4",
    variant=f"corpus BLEU of pycocoevalcap 1.2, nearest length; {_WORDS}",
    columns=_bleu,
    value=bleu,
    undefined=_ABSENT,
)
BENCHMARK = Benchmark(
    title="captions",
    source="github.com/tylin/coco-caption, in Python 3 pycocoevalcap 1.2",
    official=(CIDER, BLEU_4),
    form="coco_captions",
    own_data=True,
    instruction=task_instruction,
    predict=text_of,
    read_prediction=_read,
    write_prediction=_write,
    images_may_train=True,
)

"""OK-VQA: questions about COCO's images that need knowledge (Marino et al. 2019, https://okvqa.allenai.org).

Five people answered; the files have each answer twice, so that it is scored as VQA v2 is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.evaluation.benchmarks import vqa_accuracy, vqa_v2
from tinygptv.evaluation.benchmarks.seam import Metric, Prediction, each
from tinygptv.evaluation.benchmarks.vqa_accuracy import accuracy_of, per_answer_type

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Truth

CATEGORIES = {
    "one": "vehicles and transportation",
    "two": "brands, companies and products",
    "three": "objects, material and clothing",
    "four": "sports and recreation",
    "five": "cooking and food",
    "six": "geography, history, language and culture",
    "seven": "people and everyday life",
    "eight": "plants and animals",
    "nine": "science and technology",
    "ten": "weather and climate",
    "other": "other",
}
"""`question_type` of the files → what the paper calls it."""


def _authors_row(truth: Truth, prediction: Prediction) -> tuple[float]:
    answer = prediction.answer.lower().replace("<unk>", "").strip().split("###")[0].strip()
    return (vqa_accuracy.worth(answer, truth, "B-folded"),)


def _type_of(_content: str, truth: Truth) -> str:
    kind = truth.get("question_type", "")
    return f"ok_vqa-{CATEGORIES[kind]}" if kind in CATEGORIES else ""


def _kin(truth: Truth) -> str:
    """Question types of VQA v2 are the words that a question begins with."""
    return "vqa_v2" if truth.get("question_type", "other") not in CATEGORIES else ""


ACCURACY = accuracy_of("B")
AUTHORS = Metric(
    name="accuracy",
    variant="as official, but compared in lower case where all people agree; cut at ###",
    columns=each(_authors_row),
    value=ACCURACY.value,
    undefined=ACCURACY.undefined,
)
BENCHMARK = replace(
    vqa_v2.BENCHMARK,
    title="OK-VQA",
    source="https://okvqa.allenai.org, scored by github.com/GT-Vision-Lab/VQA; authors: eval_vqa.py with MiniGPT-4's "
    "minigpt4/common/vqa_tools",
    official=(ACCURACY, per_answer_type(ACCURACY)),
    authors=(AUTHORS,),
    parts={"val": 5_046, "train": 9_009},
    types=tuple(f"ok_vqa-{name}" for name in CATEGORIES.values()),
    type_of=_type_of,
    kin=_kin,
)

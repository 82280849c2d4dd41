"""The benchmarks that a data set may name: name → module, which has one ``BENCHMARK``; and what reports call them."""

from __future__ import annotations

from collections.abc import Mapping

from tinygptv.config.base import Task

BENCHMARKS: dict[str, str] = {
    "a_okvqa": "tinygptv.evaluation.benchmarks.a_okvqa",
    "acc_at_iou": "tinygptv.evaluation.benchmarks.acc_at_iou",
    "captions": "tinygptv.evaluation.benchmarks.captions",
    "choice": "tinygptv.evaluation.benchmarks.choice",
    "exact_match": "tinygptv.evaluation.benchmarks.exact_match",
    "gqa": "tinygptv.evaluation.benchmarks.gqa",
    "hateful_memes": "tinygptv.evaluation.benchmarks.hateful_memes",
    "iconqa": "tinygptv.evaluation.benchmarks.iconqa",
    "ok_vqa": "tinygptv.evaluation.benchmarks.ok_vqa",
    "pope": "tinygptv.evaluation.benchmarks.pope",
    "refcoco": "tinygptv.evaluation.benchmarks.refcoco",
    "refcoco_plus": "tinygptv.evaluation.benchmarks.refcoco_plus",
    "refcocog": "tinygptv.evaluation.benchmarks.refcocog",
    "textvqa": "tinygptv.evaluation.benchmarks.textvqa",
    "vizwiz": "tinygptv.evaluation.benchmarks.vizwiz",
    "vqa_accuracy": "tinygptv.evaluation.benchmarks.vqa_accuracy",
    "vqa_v2": "tinygptv.evaluation.benchmarks.vqa_v2",
    "vsr": "tinygptv.evaluation.benchmarks.vsr",
    "yes_no": "tinygptv.evaluation.benchmarks.yes_no",
}
BY_TASK: Mapping[Task, str] = {"vqa": "exact_match", "refer": "acc_at_iou", "caption": "exact_match"}
"""Task → benchmark of sets that name none; records of other tasks are trained and not measured."""


def reported_as(dataset: str, task: Task | None) -> str:
    """What reports, gates and pictures call the records of a data set.

    Args:
        dataset: its name in the profile.
        task: of its records; None where its benchmark asks them whatever their task is.
    """
    return dataset if task in (None, "vqa") else f"{dataset}_{task}"

"""TextVQA: questions about text in pictures (Singh et al. 2019, https://textvqa.org), asked without any OCR tokens."""

from __future__ import annotations

from dataclasses import replace

from tinygptv.evaluation.benchmarks import vqa_accuracy
from tinygptv.evaluation.benchmarks.vqa_accuracy import accuracy_of, per_answer_type, read_answer, write_answer

ACCURACY = accuracy_of("D-EvalAI")
BENCHMARK = replace(
    vqa_accuracy.BENCHMARK,
    title="TextVQA",
    source="github.com/facebookresearch/mmf, m4c_evaluators.py",
    official=(ACCURACY, per_answer_type(ACCURACY)),
    form="textvqa",
    parts={"val": 5_000, "train": 34_602},
    read_prediction=read_answer,
    write_prediction=write_answer,
)

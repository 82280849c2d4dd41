"""Hateful Memes: whether an image and the text in it are hateful together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.likelihoods import choice_accuracy, likelier_of, score_auroc
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.submissions import name, place, probability, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinygptv.config import Preset, Task
    from tinygptv.evaluation.benchmarks.seam import Truth

WORDS = ("yes", "no")
OF_LABEL = WORDS[::-1]


def _instruction(preset: Preset, task: Task, content: str, truth: Truth) -> str:
    if preset == "authors_released":  # "writting" is theirs
        return f"This is an image writting '{truth['text']}'. Is this image hateful? Answer yes or no. Answer:"
    return task_instruction(preset, task, content, truth)


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    """Without a ``label``, ``proba`` decides; without a ``proba`` nothing is ranked. ``answer`` is the text that was
    generated."""
    score = probability(entry, "proba") if "proba" in entry or "label" not in entry else None
    choice = place(entry, "label") if score is None or "label" in entry else int(score >= 0.5)
    if choice > 1:
        raise ValueError(f"`label` must be 0 or 1, not {choice}")
    answer = text(entry, "answer") if "answer" in entry else OF_LABEL[choice]
    return name(entry, "id"), Prediction(answer=answer, score=score, choice=choice)


def _write(question: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    label = int(prediction.choice == 1)
    return {"id": question, "proba": prediction.score, "label": label, "answer": prediction.answer}


def _lax(truth: Truth, prediction: Prediction) -> tuple[float]:
    said = prediction.answer.split("###")[0].split("Assistant:")[-1].lower()
    word = next((word for word in WORDS if word in said), "")
    return (float(word == truth["answer"]),)


BENCHMARK = Benchmark(
    title="Hateful Memes",
    source="Kiela et al. 2020; projects/hateful_memes of github.com/facebookresearch/mmf",
    official=(
        score_auroc(
            WORDS[0],
            "P(hateful): of a model P(yes) of yes and no, both with their end marks; equal scores count half",
            "the truth has one class alone, or no prediction has a `proba`",
        ),
        choice_accuracy(WORDS[0], "label, of a model the likelier of yes and no"),
    ),
    authors=(
        Metric(
            name="accuracy",
            variant="TinyGPT-V eval_vqa.py: yes where the answer has 'yes' in it, else no where it has 'no' ('not')",
            columns=each(_lax),
            value=mean,
        ),
    ),
    form="hateful_memes",
    parts={
        "dev_seen": 500,
        "dev_unseen": 540,
        "test_seen": 1_000,
        "test_unseen": 2_000,
        "dev": 500,
        "test": 1_000,
        "train": 8_500,
    },
    paper={"dev_seen": 0.540, "dev": 0.540},
    instruction=_instruction,
    choices=lambda _: WORDS,
    predict=likelier_of(WORDS),
    read_prediction=_read,
    write_prediction=_write,
    chance=lambda _: 0.5,
)

"""Questions of easy-VQA's three benchmarks, and answers to them, for tests of what is done with them."""

from __future__ import annotations

from tinygptv.evaluation.benchmarks import easy_vqa
from tinygptv.evaluation.benchmarks.table import Ask
from tinygptv.evaluation.questions import Question
from tinygptv.model.answerer import Response

NAMES = {"vqa": "easy_vqa", "refer": "easy_vqa_refer", "caption": "easy_vqa_caption"}
ASKS = tuple(
    Ask(name=NAMES[task], dataset="easy_vqa", task=task, benchmark=benchmark)
    for task, benchmark in easy_vqa.BY_TASK.items()
)


def question(task: str, content: str, truth: str, *, image: int = 0, record: str = "r", ask: Ask | None = None):
    """A question of ``ASKS``, or of another ask."""
    ask = ask or next(ask for ask in ASKS if ask.task == task)
    annotation = {"answer": truth, "answers": {truth: 1.0}}
    return Question(
        dataset=ask.dataset,
        key=f"image-{image}",
        record=record,
        task=task,
        benchmark=ask.name,
        content=content,
        truth=truth,
        annotation=annotation,
        type=ask.benchmark.type_of(content, annotation),
        image=bytes([image]) * 32,
    )


def said(text: str, logprob: float = -0.1, *, cut: bool = False) -> Response:
    """An answer."""
    return Response(text=text, tokens=1, cut=cut, logprob=logprob)

"""By what a user's data are judged: the records' task, the benchmark, and what a model without eyes would reach."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.config.benchmarks import BY_TASK, reported_as
from tinygptv.ground.errors import UserError

if TYPE_CHECKING:
    from tinygptv.config import Family, Task
    from tinygptv.data.records import Record
    from tinygptv.own_data.reading import Reading

SHORT_WORDS = 5
"""Words of an answer that can be expected letter by letter."""
SHORT_SHARE = 0.95
REPEATED = 0.5
"""Share of different captions above which none can be expected letter by letter."""
LEAST_GAIN = 0.02
LEAST_CIDER = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the profile says of its data set's task and benchmark, and what its gate asks for."""

    task: Task | None
    """None: the form says it."""
    benchmark: str | None
    """None: that of the task."""
    least: dict[str, float]
    """Name in the reports → least value: a little above what needs no picture."""
    why: str
    """In words."""


def judge(name: str, reading: Reading, task: Task | None) -> Judged:
    """Choose for a data set.

    Args:
        name: the data set's.
        reading: what it holds.
        task: of its records, where something says so.
    """
    turns = [(turn.question, turn.answer) for record in reading.sample for turn in record.turns]
    short = _are_short([answer for _, answer in turns])
    if set(reading.tasks) == {"conversation"} and task is None and short and not reading.texts:
        why = "answers are short, so each question is asked by itself and its answer compared word for word"
        return Judged(task="vqa", benchmark=None, least={name: _floor(without_picture(turns))}, why=why)
    asked: list[Task] = [asked for asked in BY_TASK if reading.tasks[asked]]
    if asked and all(_comparable(of, reading.sample) for of in asked):
        least = {reported_as(name, of): _floor(_baseline(of, reading.sample)) for of in asked}
        told = "boxes by their overlap" if asked == ["refer"] else "answers are compared word for word"
        return Judged(task=task, benchmark=None, least=least, why=told)
    if short:
        why = "answers are compared word for word"
        return Judged(task=task, benchmark="exact_match", least={name: _floor(without_picture(turns))}, why=why)
    from tinygptv.evaluation.metrics.captions import HAS_PACKAGE

    if HAS_PACKAGE:
        why = "answers are whole sentences, measured by CIDEr: likeness to the true ones"
        return Judged(task=task, benchmark="captions", least={name: LEAST_CIDER}, why=why)
    why = "answers are whole sentences; without pycocoevalcap only equal ones count: pip install 'tinygptv[captions]'"
    return Judged(task=task, benchmark="exact_match", least={name: 0.0}, why=why)


def caption_entry(dataset: str, stage: str, families: Set[Family | None], reading: Reading) -> str:
    """What a stage before the last draws of a data set: its captions.

    Args:
        dataset: its name.
        stage: the stage's.
        families: the instructions that the stage asks with in the profile that is begun with.
        reading: what the data set holds.

    Raises:
        UserError: it has no captions.
    """
    if not reading.tasks["caption"]:
        raise UserError(f"--stages: {stage} trains on captions, and these data have none; leave it out")
    return f"{dataset}/{'align' if 'align' in families else 'caption'}"


def without_picture(turns: Sequence[tuple[str, str]]) -> float:
    """Share of the questions that are answered right without a look.

    Each by what others in the same words are answered most often, or, where no other asks so, by the most frequent
    answer of all.
    """
    of_question: dict[str, Counter[str]] = defaultdict(Counter)
    whole: Counter[str] = Counter()
    for question, answer in turns:
        of_question[question][answer] += 1
        whole[answer] += 1
    right = constant = 0
    common = whole.most_common(1)[0][0] if whole else ""
    for question, answer in turns:
        others = of_question[question].copy()
        others[answer] -= 1
        guess, count = others.most_common(1)[0]
        right += (guess if count else common) == answer
        constant += common == answer
    return max(right, constant) / max(len(turns), 1)


def _baseline(task: Task, sample: Sequence[Record]) -> float:
    turns = [(turn.question, turn.answer) for record in sample if record.task == task for turn in record.turns]
    if task == "refer":
        return _of_boxes([answer for _, answer in turns])
    return without_picture(turns)


def _of_boxes(answers: Sequence[str]) -> float:
    """Share of the boxes that one box would hit."""
    from tinygptv.data.boxes import parse_box
    from tinygptv.evaluation.baselines import best_constant_box
    from tinygptv.evaluation.metrics.boxes import IOU_THRESHOLD, iou

    boxes = Counter(box for box in map(parse_box, answers) if box is not None)
    if not boxes:
        return 0.0
    guess = best_constant_box(boxes)
    return sum(count for box, count in boxes.items() if iou(guess, box) > IOU_THRESHOLD) / boxes.total()


def _comparable(task: Task, sample: Sequence[Record]) -> bool:
    """Whether answers of a task can be expected letter by letter."""
    answers = [turn.answer for record in sample if record.task == task for turn in record.turns]
    if task == "caption":
        return len(set(answers)) <= REPEATED * len(answers)
    return task == "refer" or _are_short(answers)


def _are_short(answers: Sequence[str]) -> bool:
    short = sum(len(answer.split()) <= SHORT_WORDS for answer in answers)
    return bool(answers) and short >= SHORT_SHARE * len(answers)


def _floor(baseline: float) -> float:
    return round(min(0.99, baseline + LEAST_GAIN), 2)

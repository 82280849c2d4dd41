"""What the numbers of a report say in plain words: whether the model learned anything, and what to change if not.

Pure functions of a report's figures and of what the last training left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.ground.tables import some

if TYPE_CHECKING:
    from tinygptv.evaluation.scores import Figures

WITHOUT_IMAGE = {
    "blind": "for the question alone",
    "majority": "for one answer to all",
    "trivial": "for one answer to all",
    "chance": "by chance",
}
"""Baseline of a report → what its number is reached by."""
CUT = 0.05
"""Share of training answers that may be cut before that is a likely cause."""
UNENDED = 0.2
"""The same of the model's own answers."""
FALLING = 0.03
"""Share by which a loss falls within a fifth of the training that ended too early."""
HARDLY = 0.9
"""A last loss above this share of the first one: nothing was learned at all."""
RISEN = 1.02
"""A held-out loss that has risen by this since its best: the records are learned by heart."""
FEW_RECORDS, FEW_QUESTIONS = 300, 200
ONCE = 1.0
"""Times that a record must be met before its loss says anything of the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTraining:
    """What the last stage that trained left behind."""

    stage: str
    history: Sequence[Mapping[str, float]]
    """Points of its loss curve (``history.json``)."""
    cuts: Mapping[str, Mapping[str, int]]
    """Entry of the mixture → its counts (``cuts.json``)."""
    records: int
    """Training records of its data sets."""
    passes: float
    """How often each was met, on average."""


def verdict(benchmarks: Mapping[str, Figures], training: LastTraining | None) -> str:
    """One to three sentences for people who do not know the figures.

    Args:
        benchmarks: of the report: benchmark → its figures on the test set.
        training: of the last stage that trained; None where none did.
    """
    found = {name: (entry, best) for name, entry in benchmarks.items() if (best := baseline(entry)) is not None}
    if not found:
        return "Nothing says whether the model learned anything: no benchmark has a number and a baseline."
    sure = [name for name, (entry, (best, _)) in found.items() if _lowest(entry) > best]
    perhaps = [name for name, (entry, (best, _)) in found.items() if name not in sure and entry["value"] > best]
    nothing = [name for name in found if name not in (*sure, *perhaps)]

    def told(names: Sequence[str]) -> str:
        numbers = [(name, found[name][0]["value"], *found[name][1]) for name in names]
        return some([f"{name} {value:.2f} against {best:.2f} {how}" for name, value, best, how in numbers])

    if len(sure) == len(found):
        return f"The model learned to use the images: {told(sure)}."
    parts = [f"The model learned to use the images for a part of what is asked: {told(sure)}."] if sure else []
    if perhaps:
        asked = min(int(found[name][0]["n"]) for name in perhaps)
        few = f", for {asked} questions are few (hold out more by `split`)" if asked < FEW_QUESTIONS else ""
        parts.append(f"Its lead over answers that need no image may be luck{few}: {told(perhaps)}.")
    if nothing:
        parts.append(f"It learned nothing beyond answers that need no image: {told(nothing)}.")
    weak = [found[name][0] for name in (*perhaps, *nothing)]
    unended = sum(int(entry.get("cut", 0)) for entry in weak) / max(1, sum(int(entry["n"]) for entry in weak))
    return " ".join([*parts, cause(training, unended)])


def baseline(figures: Figures) -> tuple[float, str] | None:
    """The best number of a benchmark that needs no image, and what reaches it; None where none can be compared."""
    numbers = [(figures[key], words) for key, words in WITHOUT_IMAGE.items() if figures.get(key) is not None]
    return max(numbers, key=lambda number: number[0]) if numbers and figures["value"] is not None else None


def cause(training: LastTraining | None, unended: float) -> str:
    """The likeliest of: cut answers, too few records, wrong start, too short; with what to change.

    Args:
        training: of the last stage that trained; None where none did.
        unended: share of the model's answers that had not ended after ``evaluate.max_new_tokens``.
    """
    if training is None or not training.history:
        return (
            "No stage trained here (`epochs: 0`, or an imported checkpoint): these are the numbers of what was taken."
        )
    stage, records = training.stage, f"{training.records:,}"
    answers = sum(counts["answers"] for counts in training.cuts.values())
    cut = sum(counts["cut_answers"] for counts in training.cuts.values())
    if answers and cut > CUT * answers:
        return f"Likely cause: {cut / answers:.0%} of the training answers are cut; raise {stage}.max_answer_tokens."
    looks = [point["validation_loss"] for point in training.history if "validation_loss" in point]
    if looks and looks[-1] > RISEN * min(looks):
        return (
            f"Likely cause: too few records ({records}): they were learned by heart, the loss on held-out ones rose "
            f"from {min(looks):.3g} to {looks[-1]:.3g}; add records, or lower {stage}.learning_rate."
        )
    losses = looks if len(looks) > 2 else [point["loss"] for point in training.history]
    course = f"({losses[0]:.3g} to {losses[-1]:.3g})"
    if training.passes < ONCE:
        return (
            f"Likely cause: too short: of {records} records each was met {training.passes:.2g} times; raise "
            f"{stage}.steps_per_epoch."
        )
    if losses[-1] > HARDLY * losses[0]:
        return (
            f"Likely cause: a wrong start: the loss hardly fell {course}; begin from a model trained on pictures like "
            f"these (`init`), or raise {stage}.learning_rate."
        )
    if _still_falling(losses):
        return (
            f"Likely cause: too short: the loss was still falling at the end {course}; raise {stage}.steps_per_epoch."
        )
    if unended > UNENDED:
        return (
            f"Likely cause: cut answers: {unended:.0%} of them had not ended; raise evaluate.max_new_tokens if true "
            f"answers are that long, else {stage}.steps_per_epoch."
        )
    if training.records < FEW_RECORDS:
        return f"Likely cause: too few records: it trained on {records}; add more."
    return (
        f"Likely cause: a wrong start: the loss came to rest {course}; begin from a model trained on pictures like "
        "these (`init`), or train the stages before, too."
    )


def _lowest(figures: Figures) -> float:
    """The lower end of a number's interval; the number where it has none."""
    low: float = (figures["ci95"] or [figures["value"]])[0]
    return low


def _still_falling(losses: Sequence[float]) -> bool:
    """Whether the last fifth of the points lies clearly below the fifth before."""
    fifth = max(1, len(losses) // 5)
    last, before = losses[-fifth:], losses[-2 * fifth : -fifth]
    return bool(before) and sum(last) / len(last) < (1 - FALLING) * sum(before) / len(before)

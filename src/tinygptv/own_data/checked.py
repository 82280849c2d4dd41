"""What ``tinygptv data check`` found, as it is told and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinygptv.data.rejections import LISTED, Rejections
from tinygptv.data.summary import SPLITS
from tinygptv.own_data.counting import RowsCount, Use, UseCount

if TYPE_CHECKING:
    from collections import Counter

    from tinygptv.config import DataSet
    from tinygptv.data.source import Rejection


@dataclass(slots=True)
class SetCheck:
    """What was found of a data set."""

    settings: DataSet
    found: int = 0
    """Records of its files, good and bad."""
    count: RowsCount = field(default_factory=RowsCount)
    rejections: Rejections = field(default_factory=Rejections)
    """Records that are left out, damaged pictures included."""
    doubled: Rejections = field(default_factory=Rejections)
    """Records whose picture is another one's, byte for byte."""
    leaks: Rejections = field(default_factory=Rejections)
    """Held-out records whose picture is trained on."""
    failures: list[str] = field(default_factory=list)
    """Why training would fail."""

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "records": self.count.splits.total(),
            "images": self.count.images,
            "splits": {split: self.count.splits[split] for split in SPLITS},
            "tasks": dict(self.count.tasks),
            "rejected": self.rejections.count,
            "reasons": dict(self.rejections.reasons.most_common(LISTED)),
            "doubled": self.doubled.count,
            "leaked": self.leaks.count,
            "format": self.settings.format,
        }


@dataclass(slots=True)
class DataCheck:
    """What was found of all data sets of a profile, or of those at a path."""

    name: str
    sets: dict[str, SetCheck]
    exact: bool
    """Whether lengths are tokens; else bytes, which are no fewer."""
    uses: dict[str, Use] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """Why training would fail, beside those of the sets."""

    @property
    def all_failures(self) -> list[str]:
        """Why training would fail."""
        return [*(f"data set {name}: {why}" for name, of in self.sets.items() for why in of.failures), *self.failures]

    def use_counts(self) -> Iterator[tuple[Use, UseCount]]:
        """What stages take of the sets, measured."""
        for of_set in self.sets.values():
            for label, count in of_set.count.uses.items():
                yield self.uses[label], count

    def problems(self) -> Iterator[tuple[str, Rejection]]:
        """Data set and problem, the worst kind first, at most a thousand."""
        kinds: list[Callable[[SetCheck], list[Rejections]]] = [
            lambda of: [of.rejections],
            lambda of: [count.too_long for count in of.count.uses.values()],
            lambda of: [of.leaks],
            lambda of: [count.cuts for count in of.count.uses.values()],
            lambda of: [of.doubled],
        ]
        left = LISTED
        for kind in kinds:
            for name, of_set in self.sets.items():
                for listed in kind(of_set):
                    first = listed.to_json()["records"][:left]
                    left -= len(first)
                    yield from ((name, one) for one in first)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        told = [{"set": name, "record": one["id"], "reason": one["reason"]} for name, one in self.problems()]
        failed = [{"set": name, "record": "", "reason": why} for name, of in self.sets.items() for why in of.failures]
        failed += [{"set": "", "record": "", "reason": why} for why in self.failures]
        unit = "tokens" if self.exact else "bytes"
        return {
            "sets": {name: of.as_json() for name, of in self.sets.items()},
            "problems": (failed + told)[:LISTED],
            "trainable": not self.all_failures,
            "failures": self.all_failures,
            "lengths": {"unit": unit, "stages": {use.label: _use_json(use, count) for use, count in self.use_counts()}},
        }


def quantiles(lengths: Counter[int]) -> dict[str, int]:
    """Median, 99th percentile and greatest of lengths, each with how often it is."""
    total, seen, found = lengths.total(), 0, {"median": 0, "p99": 0, "longest": 0}
    for length, count in sorted(lengths.items()):
        if seen < total / 2:
            found["median"] = length
        if seen < 0.99 * total:
            found["p99"] = length
        found["longest"] = length
        seen += count
    return found


def _use_json(use: Use, count: UseCount) -> dict[str, Any]:
    return {
        "records": count.records,
        "answers": count.answers,
        "cut_answers": count.cut_answers,
        "left_out_turns": count.left_out_turns,
        "too_long": count.too_long.count,
        "sequence": quantiles(count.sequences) | {"limit": use.stage.max_sequence_tokens},
        "answer": quantiles(count.longest_answers) | {"limit": use.stage.max_answer_tokens},
    }

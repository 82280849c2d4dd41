"""Which steps, and which parts of long ones, a verification looks at: drawn from its date and a seed.

Four weeks are a period. The steps that are run again whole are shuffled for a period and dealt to its weeks, so that
each comes up once in four weeks; of a step that takes longer than a limit, another handful of parts is made again
every week.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from tinygptv.ground.names import STAGES

WEEKS = 4
PARTS = 8
"""Of a long step, that are made again each week."""
IN_PARTS = dict.fromkeys(STAGES, "batches") | {"features": "blocks"}
"""Step → what its parts are, for the steps that have some."""


@dataclass(frozen=True, slots=True)
class WeeklyDraw:
    """What a verification looks at."""

    day: date
    seed: int
    longest_hours: float
    """A step that has parts and took longer is not run again whole."""

    @property
    def _period_and_week(self) -> tuple[int, int]:
        return divmod(self.day.toordinal() // 7, WEEKS)

    def in_parts(self, steps: Sequence[str], seconds: Mapping[str, float]) -> tuple[str, ...]:
        """The steps of which parts are made again, every week.

        Args:
            steps: all that could be run.
            seconds: how long a step took, where that is known.
        """
        return tuple(step for step in steps if step in IN_PARTS and seconds.get(step, 0.0) > 3600 * self.longest_hours)

    def whole(self, steps: Sequence[str], seconds: Mapping[str, float]) -> tuple[str, ...]:
        """The steps that are run again whole this week, in the order of ``steps``."""
        period, week = self._period_and_week
        dealt = [step for step in steps if step not in self.in_parts(steps, seconds)]
        random.Random(f"{self.seed} {period}").shuffle(dealt)  # noqa: S311 (a draw, no secret)
        return tuple(step for step in steps if step in dealt[week::WEEKS])

    def parts(self, step: str, total: int) -> list[int]:
        """Numbers of the parts that are made again this week; no part comes twice in a period that has enough."""
        period, week = self._period_and_week
        drawn = random.Random(f"{self.seed} {period} {step}").sample(range(total), min(total, WEEKS * PARTS))  # noqa: S311
        return sorted(drawn[week::WEEKS])


def a_month(whole: int, totals: Mapping[str, int]) -> str:
    """What four weeks of samples cover, in words.

    Args:
        whole: how many steps are run again whole.
        totals: step → its parts, for those that are made again in parts.
    """
    told = [f"each of {whole} steps whole, once"] if whole else []
    for step, total in totals.items():
        many = min(total, WEEKS * PARTS)
        told.append(f"{step} {many} of {total:,} {IN_PARTS[step]} ({many / max(total, 1):.2%})")
    return f"in four weeks: {'; '.join(told)}"

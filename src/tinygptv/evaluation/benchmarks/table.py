"""The table of benchmarks: format of a data set → what is asked of its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tinygptv.evaluation.benchmarks import easy_vqa

if TYPE_CHECKING:
    from tinygptv.config import DataSet
    from tinygptv.evaluation.benchmarks.suite import Suite

SUITES: dict[str, Suite] = {"easy_vqa": easy_vqa.SUITE}
LABELS = {name: label for suite in SUITES.values() for name, label in suite.labels.items()}
"""Name of every benchmark, in the order of the reports → what pictures call it."""
TYPES = tuple(dict.fromkeys(kind for suite in SUITES.values() for kind in suite.types))
"""Every kind of question, in the order of the reports."""


def suites_of(data: Mapping[str, DataSet]) -> dict[str, Suite]:
    """Name of a data set → what is asked of it; without those that no benchmark knows."""
    return {name: SUITES[settings.format] for name, settings in data.items() if settings.format in SUITES}

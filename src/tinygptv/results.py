"""The table of results, read from ``reports/<profile>``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import EVALUATION, QUANTIZATION
from tinygptv.ground.files import read_json
from tinygptv.ground.folders import reports_folder
from tinygptv.ground.tables import plain_table
from tinygptv.ground.worktree import how_to_make

MODELS = {EVALUATION: "full", QUANTIZATION: "8 bits"}
BASELINES = {"majority": "majority", "blind": "question only", "trivial": "trivial"}


HEADER = ("benchmark", "model", "metric", "value", "95 % interval", *BASELINES.values(), "n")
NUMBERS = tuple(range(3, len(HEADER)))
"""Columns that are set to the right."""


def results_table(root: Path, profile: str) -> str:
    """Benchmarks of the trained and of the 8-bit model, each beside its baselines, for a terminal.

    Raises:
        DataError: nothing was evaluated yet, or a report is not of the documented form.
    """
    return plain_table(HEADER, result_rows(root, profile), right=NUMBERS)


def markdown_results(root: Path, profile: str) -> str:
    """The same table in Markdown.

    Raises:
        DataError: as ``results_table``.
    """
    rule = ["---:" if column in NUMBERS else "---" for column in range(len(HEADER))]
    rows = [[f"`{cell}`" if "@" in cell else cell for cell in row] for row in result_rows(root, profile)]  # no e-mail
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEADER, rule, *rows))


def result_rows(root: Path, profile: str) -> list[tuple[str, ...]]:
    """The table's rows, benchmark by benchmark.

    Raises:
        DataError: as ``results_table``.
    """
    folder = reports_folder(root, profile)
    found = {folder / report: model for report, model in MODELS.items() if (folder / report).is_file()}
    if not found:
        raise DataError(f"{folder} has no results yet; run {how_to_make(root, profile)}")
    rows = [row for path, model in found.items() for row in _rows(path, model)]
    if not rows:
        raise DataError(f"{folder} has no figures: no data set of the profile has test records that a benchmark asks")
    return sorted(rows, key=lambda row: row[0])


def _rows(path: Path, model: str) -> list[tuple[str, ...]]:
    report = read_json(path)
    benchmarks = report.get("benchmarks") if isinstance(report, dict) else None
    if not isinstance(benchmarks, dict):
        raise DataError(f"{path} has no `benchmarks`; run the step again: dvc repro -f -s {path.stem}")
    return [_row(path, name, model, entry) for name, entry in benchmarks.items()]


def _row(path: Path, name: str, model: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        low, high = entry["ci95"]
        return (
            name,
            model,
            str(entry["metric"]),
            _share(entry["value"]),
            f"{_share(low)}-{_share(high)}",
            *(_share(entry.get(key)) for key in BASELINES),
            str(int(entry["n"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: benchmark {name} is incomplete ({error!r}); run the step again: dvc repro -f -s {path.stem}"
        ) from None


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"

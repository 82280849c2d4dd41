"""The table of results, read from ``reports/<profile>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import EVALUATION, QUANTIZATION
from tinygptv.ground.files import read_json
from tinygptv.ground.tables import plain_table
from tinygptv.ground.worktree import how_to_make, results_folder

MODELS = {EVALUATION: "full", QUANTIZATION: "8 bits"}
BASELINES = {"majority": "majority", "blind": "question only", "trivial": "trivial"}
BESIDE = {"chance": "chance", "authors": "authors' count"}
"""Columns that are there where a benchmark has something to say in them."""
FIRST_NUMBER = 3
"""The first of the columns that are set to the right."""


def results_table(root: Path, profile: str) -> str:
    """Benchmarks of the trained and of the 8-bit model, each beside its baselines, for a terminal.

    Raises:
        DataError: nothing was evaluated yet, or a report is not of the documented form.
    """
    return _plain(result_rows(root, profile))


def verdict_of(root: Path, profile: str) -> str:
    """What the last evaluation says in plain words; nothing where there is none, or one of an earlier version."""
    path = results_folder(root, profile) / EVALUATION
    report = read_json(path) if path.is_file() else {}
    return str(report.get("verdict", "")) if isinstance(report, dict) else ""


def table_of(report: Mapping[str, Any], model: str) -> str:
    """The same of one model, by what it is called; without figures only the header."""
    return _plain(_ordered(_rows(report, "the report", model)))


def markdown_results(root: Path, profile: str) -> str:
    """The same table in Markdown.

    Raises:
        DataError: as ``results_table``.
    """
    header, *rows = result_rows(root, profile)
    rule = ["---:" if column >= FIRST_NUMBER else "---" for column in range(len(header))]
    cells = [[f"`{cell}`" if "@" in cell else cell for cell in row] for row in rows]  # no e-mail
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *cells))


def result_rows(root: Path, profile: str) -> list[tuple[str, ...]]:
    """The table's header, and its rows, benchmark by benchmark; a preset beside the first has rows of its own.

    Raises:
        DataError: as ``results_table``.
    """
    folder = results_folder(root, profile)
    found = {folder / report: model for report, model in MODELS.items() if (folder / report).is_file()}
    if not found:
        raise DataError(f"{folder} has no results yet; run {how_to_make(root, profile)}")
    rows = [row for path, model in found.items() for row in _rows(read_json(path), str(path), model)]
    if not rows:
        raise DataError(f"{folder} has no figures: no data set of the profile has test records that a benchmark asks")
    return _ordered(rows)


def _plain(rows: Sequence[tuple[str, ...]]) -> str:
    header, *others = rows
    return plain_table(header, others, right=range(FIRST_NUMBER, len(header)))


def _ordered(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """The header and the rows, without columns in which nothing stands."""
    columns = ["benchmark", "model", "metric", "value", "95 % interval", *BASELINES.values(), *BESIDE.values(), "n"]
    shown = [name for name in columns if name not in BESIDE.values() or any(row[name] for row in rows)]
    ordered = sorted(rows, key=lambda row: row["benchmark"])
    return [tuple(shown), *(tuple(row[name] for name in shown) for row in ordered)]


def _rows(report: Any, where: str, model: str) -> list[dict[str, str]]:
    benchmarks = report.get("benchmarks") if isinstance(report, dict) else None
    if not isinstance(benchmarks, dict):
        raise DataError(f"{where} has no `benchmarks`; run the step again: dvc repro -f -s {Path(where).stem}")
    beside = {f"{model}, {preset}": entries for preset, entries in report.get("presets", {}).items()}
    return [
        _row(where, name, asked, entry)
        for asked, entries in ({model: benchmarks} | beside).items()
        for name, entry in entries.items()
    ]


def _row(where: str, name: str, model: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Heading of a column → what a benchmark has in it."""
    try:
        authors = next(iter((entry.get("authors") or {}).values()), None)
        return {
            "benchmark": name,
            "model": model,
            "metric": str(entry["metric"]),
            "value": "undefined" if entry["value"] is None else _share(entry["value"]),
            "95 % interval": "-".join(map(_share, entry["ci95"] or ())),
            **{heading: _share(entry.get(key)) for key, heading in BASELINES.items()},
            BESIDE["chance"]: _share(entry.get("chance")),
            BESIDE["authors"]: "" if isinstance(authors, dict) else _share(authors),
            "n": str(int(entry["n"])),
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        again = f"run the step again: dvc repro -f -s {Path(where).stem}"
        raise DataError(f"{where}: benchmark {name} is incomplete ({error!r}); {again}") from None


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"

"""The table of results, read from ``reports/<profile>``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygptv.errors import DataError
from tinygptv.files import read_json
from tinygptv.tables import plain_table

MODELS = {"evaluate": "full", "quantize": "8 bits"}
BASELINES = {"majority": "majority", "blind": "question only", "trivial": "trivial"}


def results_table(root: Path, profile: str) -> str:
    """Benchmarks of the trained and of the 8-bit model, each beside its baselines.

    Raises:
        DataError: nothing was evaluated yet, or a report is not of the documented form.
    """
    folder = root / "reports" / profile
    rows = []
    for step, model in MODELS.items():
        path = folder / f"{step}.json"
        if path.is_file():
            rows += _rows(path, model)
    if not rows:
        raise DataError(f"{folder} has no results yet; run `make demo`, or `dvc repro`")
    header = ("benchmark", "model", "metric", "value", "95 % interval", *BASELINES.values(), "n")
    return plain_table(header, sorted(rows, key=lambda row: row[0]), right=(3, 4, 5, 6, 7, 8))


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

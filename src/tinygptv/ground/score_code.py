"""Which code decides what a model's answers count while a stage trains.

It is a part of the view of a stage whose looks ask questions, and of no other's: a benchmark that is added trains
nothing again where none is asked.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from tinygptv.ground.files import canonical, sha256_file

SCORE_CODE = (
    "data/formats/easy_vqa",
    "evaluation/answering",
    "evaluation/benchmarks",
    "evaluation/held_out",
    "evaluation/kept",
    "evaluation/metrics",
    "evaluation/presets",
    "evaluation/questions",
    "evaluation/stages",
    "evaluation/statistics",
    "evaluation/tally",
    "model/answerer",
    "model/decoding",
    "model/inference",
)
"""Modules and packages, beside those on which every stage depends."""


def score_code() -> str:
    """SHA-256 of these files as they run."""
    source = Path(__file__).resolve().parents[1]
    paths = [source / name for name in SCORE_CODE]
    files = [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")])]
    found = {file.relative_to(source).as_posix(): sha256_file(file) for file in files}
    return sha256(canonical(found).encode()).hexdigest()

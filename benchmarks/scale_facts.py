"""What the model of scale (`scale_model.py`) begins with: what is assumed, and what was measured.

Everything assumed is a constant here, with its unit in its name. Everything measured is read from benchmarks/results,
so that a new measurement changes the model, but for the figures of docs/speed.md's card that no file there has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tinygptv.ground.files import read_json

RESULTS = Path(__file__).resolve().parent / "results"

# Assumed: prices. Round numbers of price lists as they were told in 2026; yours differ by a factor of two.
GPU_USD_AN_HOUR = 3.0
"""An H100 with its share of a machine, rented by the hour. Overviews of May 2026 have 2 to 5."""
CORE_USD_AN_HOUR = 0.05
"""A core of a machine without a GPU."""
STORAGE_USD_A_GB_MONTH = 0.023
PUT_USD_A_THOUSAND = 0.005
GET_USD_A_THOUSAND = 0.0004
"""An object store's standard class: list prices of S3 in us-east-1 as they were for years. Traffic: none is billed."""

# Assumed: machines.
GPUS_A_NODE = 8
CORES_A_GPU = 16
DISK_TB_A_NODE = 30.0
"""Fast disks of a machine with eight H100."""
NODE_GBIT_A_SECOND = 100.0
"""Ethernet between machines, one card for eight GPUs."""
NVLINK_GB_A_SECOND = 450.0
PCIE_GB_A_SECOND = 31.5
"""Of one GPU in one direction: NVLink of an H100, sixteen lanes of PCIe 4. Makers' data sheets."""
LINK_SHARE = 0.8
"""Of a link's speed that an exchange reaches."""
MESSAGE_SECONDS = 1e-5
"""What a message to another process takes beside its bytes."""
STORE_GB_A_SECOND_A_NODE = 1.0
"""Of an object store, read by one machine."""

# Assumed: the web. img2dataset's publishers tell of 100 million addresses in 20 hours on one machine
# (https://github.com/rom1504/img2dataset, README).
ADDRESSES_A_SECOND_A_NODE = 100e6 / 20 / 3600
DEAD_ADDRESSES = 1 / 3
"""Share that gives no picture (docs/data.md)."""

# Measured on one H100 with an earlier state of this project, and in no file of benchmarks/results: a stage-1 step of 64
# samples took 0.98 s with the image tower and 0.83 s without; encoding 16 images of 448 pixels took 0.100 s.
TOWER_SECONDS_OF_64 = 0.98 - 0.83
LARGE_PICTURES_SECONDS_OF_16 = 0.100


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What benchmarks/results says."""

    picture_bytes: int
    """Of a photograph of 640 x 480 pixels (data_scale.json), as in all of these."""
    cores: int
    """Of the machine that measured ``shards``, ``features`` of the smoke model and ``evaluate`` of it."""
    download: dict[int, float]
    """Pictures → seconds."""
    shards: dict[int, float]
    shards_mib: dict[int, float]
    """Pictures → peak of the step's own process."""
    features: dict[int, float]
    index_records: int
    index_mib: float
    """Pages of the mapped index at the start of a stage."""
    index_seconds: float
    evaluate: dict[int, float]
    """Questions → seconds, of the smoke model."""
    evaluate_mib: dict[int, float]
    step_samples: int
    """Of a step of stage 1 on an H100 (gpu_step.json)."""
    step_seconds: list[float]
    """Of each process that was measured."""
    start_seconds: float
    """To the first step, where all is compiled already."""
    compile_seconds: float
    """To the first step, where nothing is."""
    gradient_bytes: dict[str, int]
    """Stage → bytes of its gradients, by the plan (gpu_memory.json)."""
    answer_rows: int
    """Answers at once (gpu_generate.json), bfloat16, captured and compiled."""
    prompt_seconds: float
    """Of all of them together, after their images."""
    tokens_a_second: float
    """Of all of them together."""


def measured() -> Measured:
    """Read what was measured."""
    data, asked = read_json(RESULTS / "data_scale.json"), read_json(RESULTS / "evaluate_scale.json")
    runs = [row for row in _rows("gpu_step") if row["stage"] == "stage1" and row["status"] == "measured"]
    answers = max(
        (row for row in _rows("gpu_generate") if row.get("what") == "loop" and row["status"] == "measured"),
        key=lambda row: row["rows"],
    )
    steps, start = data["steps"], data["start"]["step 0"]
    return Measured(
        picture_bytes=data["image"]["bytes"],
        cores=data["cores"],
        download=_by_number(steps["download"]["seconds"]),
        shards=_by_number(steps["shards"]["seconds"]),
        shards_mib={int(n): median(peak["step"]) for n, peak in steps["shards"]["peak_mib"].items()},
        features=_by_number(steps["features"]["seconds"]),
        index_records=data["start"]["records"],
        index_mib=start["of_mapped_files_mib"],
        index_seconds=start["seconds"]["in all"],
        evaluate=_by_number(asked["seconds"]),
        evaluate_mib=_by_number(asked["peak_mib"]),
        step_samples=runs[0]["samples"],
        step_seconds=[row["step_s"] for row in runs],
        start_seconds=min(row["start_s"] for row in runs),
        compile_seconds=max(row["start_s"] for row in runs),
        gradient_bytes={row["stage"]: row["plan"]["gradients"] for row in _rows("gpu_memory")},
        answer_rows=answers["rows"],
        prompt_seconds=answers["prompt_s"],
        tokens_a_second=answers["tokens_per_s"],
    )


def fitted(points: dict[int, float]) -> tuple[float, float]:
    """Seconds of the start and of each, from a small and a large run."""
    (few, short), (many, long) = sorted(points.items())
    each = (long - short) / (many - few)
    return max(0.0, short - few * each), each


def _rows(name: str) -> list[dict[str, Any]]:
    return list(read_json(RESULTS / f"{name}.json")["rows"])


def _by_number(found: dict[str, Any]) -> dict[int, float]:
    """Keys as numbers; of several rounds the middle one."""
    return {int(n): float(median(value) if isinstance(value, list) else value) for n, value in found.items()}

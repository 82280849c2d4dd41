"""Speed of each training stage on a GPU at the paper's size: samples a second and the share of the device's peak.

    python benchmarks/gpu_step.py                       # four stages, three variants, twice, at most 8 minutes
    python benchmarks/gpu_step.py --stages stage1 stage4 --variants cached free --quick --out found.json
    python benchmarks/gpu_step.py --device cpu --tiny   # a trial of the script without a GPU

It needs a CUDA device, torch, transformers (5.23 or later) and peft; nothing else, and the project need not be
installed. Random weights of configs/paper.yaml are made on the device; a measurement is a process that makes optimizer
steps of the paper's batch, every sequence as long as the profile allows, under a hard limit of 24 GB. Variants take
turns (A B A B), and a variant's time is the median of all its steps but the first two of each process:

    cached   as the pipeline trains: features are there already, deterministic kernels
    tower    the image encoder runs in every step
    free     any kernels (runtime.deterministic: false)

MFU counts the operations of forward and backward pass (src/tinygptv/planning/compute.py), HFU also those that gradient
checkpointing repeats; both are shares of the maker's peak for dense bfloat16, and absent for devices whose peak is not
known here. Making batches is not part of a step: the pipeline's worker processes do it ahead of time. Results:
benchmarks/results/gpu_step.json. Exit code 2: no CUDA device.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_common import Measurements, check, options, peak_operations, result, save

from tinygptv.ground.tables import plain_table

NAME = "gpu_step"
PLAIN = "cached"
"""The variant that the others are compared with."""


def main() -> int:
    """Measure, print the table, write the results."""
    parser = options(__doc__, NAME, ("cached", "tower", "free"))
    parser.add_argument("--rounds", type=int, help="times that each variant has its turn (2; with --quick 1)")
    parser.add_argument("--steps", type=int, help="timed steps of a process (10; with --quick 3)")
    arguments = parser.parse_args()
    check(arguments)
    measurements = Measurements(arguments)
    rounds = arguments.rounds or (1 if arguments.quick or arguments.plan else 2)
    steps = arguments.steps or (3 if arguments.quick else 10)
    runs = list(measurements.each(rounds, steps=steps, warmup=2, seconds=15.0))
    peak = peak_operations(measurements.environment)
    rows = [
        summary([run for run in runs if (run["stage"], run["variant"]) == (stage, variant)], peak)
        for stage in arguments.stages
        for variant in arguments.variants
    ]
    compare(rows)
    print(f"\n{table(rows)}\n")
    return save(arguments, result(arguments, measurements.environment, rows))


def summary(runs: Sequence[Mapping[str, Any]], peak: float | None) -> dict[str, Any]:
    """The runs of a stage in one variant as a row.

    Args:
        runs: at least one.
        peak: operations a second of the device.
    """
    good = [run for run in runs if run["status"] == "measured"]
    row: dict[str, Any] = {key: runs[0][key] for key in ("stage", "variant")}
    operations = next((run["plan"]["operations"] for run in runs if "plan" in run), None)
    row |= {"status": (good or runs)[0]["status"], "operations_a_sample": operations}
    keys = ("samples", "micro_batches", "tokens", "step_s", "samples_per_s", "mfu", "hfu", "ratio")
    row |= dict.fromkeys((*keys, "runs_step_s", "peak_bytes"))
    if not good:
        return row
    row |= {key: good[0][key] for key in ("samples", "micro_batches", "tokens")}
    seconds = statistics.median(second for run in good for second in run["step_s"])
    speed = row["samples"] / seconds
    row |= {"step_s": round(seconds, 5), "samples_per_s": round(speed, 3)}
    row["runs_step_s"] = [[round(second, 5) for second in run["step_s"]] for run in good]
    if peak:
        row["mfu"] = round(speed * operations["useful"] / peak, 4)
        row["hfu"] = round(speed * operations["executed"] / peak, 4)
    if good[0]["memory"]["peak"] is not None:
        row["peak_bytes"] = max(run["memory"]["peak"] for run in good)
    return row


def compare(rows: Sequence[dict[str, Any]]) -> None:
    """Give every row the ratio of its speed to the plain variant's of the same stage; in place."""
    plain = {row["stage"]: row["samples_per_s"] for row in rows if row["variant"] == PLAIN}
    for row in rows:
        if row["samples_per_s"] and plain.get(row["stage"]):
            row["ratio"] = round(row["samples_per_s"] / plain[row["stage"]], 4)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for a terminal."""
    header = ("stage", "variant", "samples", "s a step", "samples/s", "ratio", "MFU", "HFU", "peak, GB", "status")

    def cell(value: float | None, form: str, scale: float = 1.0) -> str:
        return "-" if value is None else format(value * scale, form)

    lines = [
        (
            row["stage"],
            row["variant"],
            cell(row["samples"], "d", 1),
            cell(row["step_s"], ".4f"),
            cell(row["samples_per_s"], ".2f"),
            cell(row["ratio"], ".3f"),
            cell(row["mfu"], ".1%"),
            cell(row["hfu"], ".1%"),
            cell(row["peak_bytes"], ".2f", 1e-9),
            row["status"],
        )
        for row in rows
    ]
    return plain_table(header, lines, right=range(2, 9))


if __name__ == "__main__":
    sys.exit(main())

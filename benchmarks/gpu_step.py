"""Speed of each training stage on a GPU at the paper's size: samples a second and the share of the device's peak.

    python benchmarks/gpu_step.py                       # the rows below, the most telling first, at most 8 minutes
    python benchmarks/gpu_step.py --stages stage1 --variants cached again --quick --out found.json
    python benchmarks/gpu_step.py --device cpu --tiny   # a trial of the script without a GPU

It needs a CUDA device, torch, transformers (5.23 or later) and peft; nothing else, and the project need not be
installed. Random weights of configs/paper.yaml are made on the device; a measurement is a process that makes optimizer
steps of the paper's batch, every sequence as long as the variant allows, under a hard limit of 24 GB. A variant's time
is the median of its steps but the first two. Variants:

    cached       as the pipeline trains: features are there already, deterministic kernels, blocks compiled
    again        the same in a second process with the first one's cache: its start, and whether its bits are the same
    plain        nothing compiled, at most 16 samples a forward pass: what `ratio` compares with
    packed       stage 4 with one row of 4,096 tokens, whose samples have the lengths of real ones: those of tiny's
                 stage 4 (easy-VQA, counted by packing.py), with the profile's number of visual tokens
    short        stage 4 at 3 x 320 tokens without checkpointing, as the authors' step was measured
    short_plain  the same, nothing compiled
    free         any kernels (runtime.deterministic: false)
    tower        the image encoder runs in every step

MFU counts the operations of forward and backward pass (src/tinygptv/planning/compute.py), HFU also those that gradient
checkpointing repeats; both are shares of the maker's peak for dense bfloat16, and absent for devices whose peak is not
known here. `4 N` is the utilisation as published records of LoRA have it: four operations a token for each number in
the blocks' matrices, and nothing else. Losses and gradient norms stand beside the speed: the steps learn one batch by
heart. Making batches is not part of a step: the pipeline's worker processes do it ahead of time. Results:
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
ROWS = (
    ("stage1", "cached"),
    ("stage4", "packed"),
    ("stage4", "short"),
    ("stage2", "cached"),
    ("stage4", "cached"),
    ("stage3", "cached"),
    ("stage1", "plain"),
    ("stage1", "free"),
    ("stage1", "again"),
    ("stage4", "short_plain"),
    ("stage2", "plain"),
    ("stage2", "free"),
    ("stage1", "tower"),
)
"""What is measured, the most telling first."""
PLAIN = {"short": "short_plain", "short_plain": "short_plain"}
"""The variant that another is compared with, if it is not ``plain``."""


def main() -> int:
    """Measure, print the table, write the results."""
    parser = options(__doc__, NAME, list(dict.fromkeys(variant for _, variant in ROWS)))
    parser.add_argument("--steps", type=int, help="timed steps of a process (10; with --quick 3)")
    arguments = parser.parse_args()
    check(arguments)
    measurements = Measurements(arguments)
    steps = arguments.steps or (3 if arguments.quick else 10)
    asked = [(stage, variant) for stage, variant in ROWS if stage in arguments.stages and variant in arguments.variants]
    runs = list(measurements.each(asked, steps=steps, warmup=2, seconds=15.0))
    peak = peak_operations(measurements.environment)
    rows = [summary(run, peak) for run in runs]
    compare(rows)
    print(f"\n{table(rows)}\n")
    return save(arguments, result(arguments, measurements.environment, rows))


def summary(run: Mapping[str, Any], peak: float | None) -> dict[str, Any]:
    """A measurement as a row.

    Args:
        run: what the worker found.
        peak: operations a second of the device.
    """
    sizes, learned = ("samples", "micro_batches", "tokens", "tokens_of_a_step"), ("losses", "norms")
    shares = ("mfu", "mfu_4n", "hfu", "ratio", "same_bits")
    row: dict[str, Any] = {key: run[key] for key in ("stage", "variant", "status")}
    row |= {"operations_a_sample": run["plan"]["operations"] if "plan" in run else None}
    row |= dict.fromkeys((*sizes, "step_s", "samples_per_s", "tokens_per_s", *shares, "steps_s", "start_s", *learned))
    row |= {"peak_bytes": None}
    if run["status"] != "measured":
        return row
    row |= {key: run[key] for key in (*sizes, *learned)}
    seconds = statistics.median(run["step_s"])
    speed = row["samples"] / seconds
    row |= {"step_s": round(seconds, 5), "samples_per_s": round(speed, 3), "start_s": round(run["start_s"], 2)}
    row["tokens_per_s"] = round(row["tokens_of_a_step"] / seconds, 1)
    row["steps_s"] = [round(second, 5) for second in run["step_s"]]
    if peak:
        row["mfu"] = round(speed * row["operations_a_sample"]["useful"] / peak, 4)
        row["mfu_4n"] = round(row["tokens_per_s"] * run["plan"]["operations_a_token"] / peak, 4)
        row["hfu"] = round(speed * row["operations_a_sample"]["executed"] / peak, 4)
    row["peak_bytes"] = run["memory"]["peak"]
    return row


def compare(rows: Sequence[dict[str, Any]]) -> None:
    """Give every row the ratio of its speed to that of the same stage when nothing is compiled; in place.

    ``again`` also gets whether all its losses and gradient norms are those of the first process, bit for bit.
    """
    found = {(row["stage"], row["variant"]): row for row in rows if row["samples_per_s"]}
    for (stage, variant), row in found.items():
        plain = found.get((stage, PLAIN.get(variant, "plain")))
        if plain:
            row["ratio"] = round(row["samples_per_s"] / plain["samples_per_s"], 4)
        first = found.get((stage, "cached"))
        if variant == "again" and first:
            most = min(len(first["losses"]), len(row["losses"]))
            row["same_bits"] = all(row[key][:most] == first[key][:most] for key in ("losses", "norms"))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for a terminal."""
    header = ("stage", "variant", "samples", "s a step", "samples/s", "tokens/s", "ratio", "MFU", "4 N", "HFU")
    header += ("peak, GB", "start, s", "same bits", "status")

    def cell(value: float | None, form: str, scale: float = 1.0) -> str:
        return "-" if value is None else format(value * scale, form)

    lines = [
        (
            row["stage"],
            row["variant"],
            cell(row["samples"], "d", 1),
            cell(row["step_s"], ".4f"),
            cell(row["samples_per_s"], ".2f"),
            cell(row["tokens_per_s"], ",.0f"),
            cell(row["ratio"], ".3f"),
            cell(row["mfu"], ".1%"),
            cell(row["mfu_4n"], ".1%"),
            cell(row["hfu"], ".1%"),
            cell(row["peak_bytes"], ".2f", 1e-9),
            cell(row["start_s"], ".1f"),
            "-" if row["same_bits"] is None else str(row["same_bits"]).lower(),
            row["status"],
        )
        for row in rows
    ]
    return plain_table(header, lines, right=range(2, 12))


if __name__ == "__main__":
    sys.exit(main())

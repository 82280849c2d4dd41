"""Memory of each training stage on a GPU at the paper's size, beside the plan, under a hard limit.

    python benchmarks/gpu_memory.py                       # four stages, four variants, at most 8 minutes
    python benchmarks/gpu_memory.py --stages stage3 --variants cached tower --quick --out found.json
    python benchmarks/gpu_memory.py --device cpu --tiny   # a trial of the script without a GPU

It needs a CUDA device, torch, transformers (5.23 or later) and peft, and for the variant `8gb` bitsandbytes; nothing
else, and the project need not be installed. Random weights of configs/paper.yaml are made on the device, and each stage
makes a few optimizer steps of the paper's batch, every sequence as long as the profile allows, in a process of its own
that may use 24 GB (`torch.cuda.set_per_process_memory_fraction`, less what the CUDA context takes). Variants:

    cached   as the pipeline trains: features are there already, deterministic kernels
    tower    the image encoder runs in every step
    free     any kernels (runtime.deterministic: false)
    8gb      blocks in 8 bits and computed again, stage 4 one sequence at a time, under 8 GB

Columns, in GB: the plan's weights, and what lay on the device before the first step; the plan's peak without its
reserve, and the most that tensors took; the plan's peak, and the most that the device held for this process, with the
CUDA context and the allocator's gaps. Results: benchmarks/results/gpu_memory.json. Exit code 2: no CUDA device.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_common import Measurements, check, gigabytes, options, result, save

from tinygptv.ground.tables import plain_table

NAME = "gpu_memory"


def main() -> int:
    """Measure, print the table, write the results."""
    arguments = options(__doc__, NAME, ("cached", "tower", "free", "8gb")).parse_args()
    check(arguments)
    measurements = Measurements(arguments)
    steps = 2 if arguments.quick else 4
    grid = [(stage, variant) for stage in arguments.stages for variant in arguments.variants]
    rows = [shown(row) for row in measurements.each(grid, steps=steps, warmup=0, seconds=20.0)]
    print(f"\n{table(rows)}\n")
    return save(arguments, result(arguments, measurements.environment, rows))


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the results: plan and measurement side by side, in bytes, and their ratios."""
    found = {key: row[key] for key in ("stage", "variant", "status", "what") if key in row}
    plan, memory = row.get("plan", {}).get("memory"), row.get("memory")
    if plan is None:
        return found
    found |= {"plan": plan, "measured": memory, "ratio": None}
    if row["status"] == "measured" and memory["peak"] is not None:
        pairs = {
            "weights": (memory["weights"], plan["weights"] + plan["image_encoder"]),
            "tensors": (memory["allocated"], plan["peak"] - plan["reserve"]),
            "peak": (memory["peak"], plan["peak"]),
        }
        found["ratio"] = {name: round(measured / planned, 4) for name, (measured, planned) in pairs.items()}
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for a terminal."""
    header = ("stage", "variant", "weights: plan", "found", "tensors: plan", "found", "peak: plan", "found", "status")
    lines = []
    for row in rows:
        plan, memory = row.get("plan"), row.get("measured") or {}
        planned = (
            (plan["weights"] + plan["image_encoder"], plan["peak"] - plan["reserve"], plan["peak"])
            if plan
            else (None, None, None)
        )
        cells = []
        for size, key in zip(planned, ("weights", "allocated", "peak"), strict=True):
            cells += [gigabytes(size), gigabytes(memory.get(key))]
        lines.append((row["stage"], row["variant"], *cells, row["status"]))
    return plain_table(header, lines, right=range(2, 8))


if __name__ == "__main__":
    sys.exit(main())

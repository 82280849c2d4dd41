"""Answers on a GPU at the paper's size: tokens a second in 16 and in 8 bits, and milliseconds of an image.

    python benchmarks/gpu_generate.py                        # all rows, at most 3 minutes
    python benchmarks/gpu_generate.py --groups half tower --out found.json
    python benchmarks/gpu_generate.py --device cpu --tiny    # a trial of the script without a GPU

It needs a CUDA device, torch, transformers (5.23 or later), for 8 bits bitsandbytes, for compiled rows Triton, which
comes with torch; nothing else, and the project need not be installed. Random weights of configs/paper.yaml are made on
the device, prompts have 72 tokens, answers 64, and nothing ends one. A group of rows is a process of its own
(gpu_generate_worker.py) and what it has told counts if it is cut off:

    half    bfloat16, 1 and 16 answers at once: the project's loop (captured, blocks compiled), transformers' generate
    eight   8 bits: the weight-only reader, bitsandbytes' LLM.int8() with threshold 0 and 6
    equal   float32: whether the loop says generate's tokens, token for token; a package in 8 bits, written on the CPU
            and opened on the device by both readers, and on the CPU
    tower   image tower and Q-Former at 448 px, 16 images at once and 1, blocks compiled and not

Tokens a second leave out the prompt and the first token; ``whole`` is with them. Results:
benchmarks/results/gpu_generate.json. Exit code 2: no CUDA device.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_common import NOT_MEASURED, check, gigabytes, keep, profile_path

from tinygptv.ground.arguments import Parser
from tinygptv.ground.tables import plain_table

NAME = "gpu_generate"
WORKER = Path(__file__).with_name("gpu_generate_worker.py")
GROUPS = ("half", "eight", "equal", "tower")


def main() -> int:
    """Measure, print the table, write the results."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the sizes of configs/smoke.yaml: a trial of the script")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="see the text")
    parser.add_argument("--minutes", type=float, default=3.0, help="after so many no further row begins (3)")
    parser.add_argument("--out", type=Path, help=f"default, for a whole run: benchmarks/results/{NAME}.json")
    parser.set_defaults(name=NAME, plan=False, set=[])
    arguments = parser.parse_args()
    check(arguments)
    began, rows, environment = time.monotonic(), list[dict[str, Any]](), dict[str, Any]()
    for group in arguments.groups:
        for row in measured(group, arguments, 60 * arguments.minutes - (time.monotonic() - began)):
            environment |= row.pop("environment", {})
            if "what" in row:
                rows.append({"group": group, **row})
                print(f"[{time.monotonic() - began:.0f} s] {group}: {' '.join(cells(rows[-1]))}", flush=True)
    print(f"\n{table(rows)}\n")
    return save(arguments, environment, rows)


def measured(group: str, arguments: argparse.Namespace, left: float) -> Iterator[dict[str, Any]]:
    """The rows of a group as they come, and one that says why it ended if it did before its end."""
    if left <= 0:
        yield {"what": "all", "status": f"{NOT_MEASURED}: {arguments.minutes:g} minutes were over"}
        return
    case = {"profile": profile_path(arguments).stem, "group": group, "device": arguments.device, "seconds": left}
    process = subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(case)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    stop = threading.Timer(left + 30, process.kill)
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()))
    stop.start()
    reader.start()
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)
    code = process.wait()
    stop.cancel()
    reader.join()
    if code:
        print("".join(errors), file=sys.stderr)
        ended = errors[-1].strip() if errors and code > 0 else f"stopped after {left + 30:.0f} s"
        yield {"what": "the rest", "status": f"failed: {ended}"}


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row for the table."""
    speed = "-" if row.get("tokens_per_s") is None else f"{row['tokens_per_s']:.1f}"
    whole = "-" if row.get("whole_tokens_per_s") is None else f"{row['whole_tokens_per_s']:.1f}"
    image = "-" if row.get("image_ms") is None else f"{row['image_ms']:.2f}"
    equal = "-" if row.get("equal") is None else f"{row['equal']:.4f}"
    first = "-" if row.get("first_s") is None else f"{row['first_s']:.1f}"
    rows = "-" if row.get("rows") is None else str(row["rows"])
    return row["what"], rows, speed, whole, image, equal, first, gigabytes(row.get("peak_bytes")), row["status"]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for a terminal."""
    header = ("what", "rows", "tokens/s", "whole", "ms an image", "equal", "first, s", "peak, GB", "status")
    return plain_table(header, [cells(row) for row in rows], right=range(1, 8))


def save(arguments: argparse.Namespace, environment: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> int:
    """Write the results where ``--out`` says, or, if it was a whole run, to their place in the repository.

    Returns:
        The exit code: 1 where a measurement failed.
    """
    good = sum(row["status"] == "measured" for row in rows)
    content = {
        "device": environment.get("name"),
        "status": "measured" if good == len(rows) else "measured in part" if good else NOT_MEASURED,
        "environment": dict(environment),
        "profile": profile_path(arguments).stem,
        "rows": list(rows),
    }
    whole = bool(good) and not arguments.tiny and tuple(arguments.groups) == GROUPS
    keep(arguments.out, NAME, content, whole=whole)
    return 1 if any(row["status"].startswith("failed") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

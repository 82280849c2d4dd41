"""How OpenMP's threads should wait for one another: steps of training alone on the machine, and beside busy neighbours.

    python benchmarks/thread_waiting.py                 # nothing else may run on the machine
    python benchmarks/thread_waiting.py --rounds 3

Threads of OpenMP that wait turn in a loop before they sleep (`GOMP_SPINCOUNT` times; without it for milliseconds). On a
quiet machine that saves a wake-up at each of thousands of products a step; beside other programs a thread turns while
the one that it waits for is not running. Every row is a process of its own that makes optimizer steps of stage 4 of
`tiny` on random weights (gpu_worker.py), the ways of waiting take turns, and a row's number is the median over rounds
of its median step. A neighbour is a process that keeps as many threads busy as the machine has cores.
Results: benchmarks/results/thread_waiting.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from gpu_common import ROOT, WORKER  # puts the project on the path

from tinygptv.ground import runtime
from tinygptv.ground.arguments import Parser
from tinygptv.ground.files import write_json
from tinygptv.ground.tables import plain_table

RESULTS = ROOT / "benchmarks" / "results" / "thread_waiting.json"
WAYS: Mapping[str, Mapping[str, str]] = {
    "OpenMP's own": {},
    "100,000 turns": {"GOMP_SPINCOUNT": "100000"},
    "10,000 turns": {"GOMP_SPINCOUNT": "10000"},
    "1,000 turns": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
NEIGHBOURS = (0, 1, 2)
CASE = {
    "profile": "tiny",
    "stage": "stage4",
    "device": "cpu",
    "settings": {},
    "tower": False,
    "gpu": 24.0,
    "steps": 6,
    "warmup": 2,
    "seconds": 60.0,
    "plan_only": False,
    "cache": "",  # tiny compiles nothing
}
BUSY = "import torch\nx = torch.randn(700, 700)\nwhile True: x @ x"


def main() -> int:
    """Measure, print the table, write the results."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each way of waiting (5)")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds of at least 1")
    seconds: dict[int, dict[str, list[float]]] = {}
    for count in NEIGHBOURS:
        seconds[count] = {way: [] for way in options.ways}
        with neighbours(count):
            for _ in range(options.rounds):
                for way in options.ways:
                    seconds[count][way].append(step(WAYS[way]))
    medians = {count: {way: statistics.median(found) for way, found in ways.items()} for count, ways in seconds.items()}
    header = ("neighbours", *options.ways)
    rows = [(count, *(f"{1000 * value:.0f} ms" for value in ways.values())) for count, ways in medians.items()]
    print(plain_table(header, rows, right=range(1, len(header))))
    write_json(
        RESULTS,
        {
            "environment": runtime.environment(),
            "cores": os.cpu_count(),
            "seconds_of_a_step": {str(count): ways for count, ways in seconds.items()},
            "median": {str(count): ways for count, ways in medians.items()},
        },
    )
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return 0


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many busy processes beside, which wait as OpenMP's own default has it."""
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", BUSY])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def step(way: Mapping[str, str]) -> float:
    """Seconds of a step, the median of a process."""
    command = [sys.executable, str(WORKER), json.dumps(CASE)]
    done = subprocess.run(command, env=os.environ | way, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])["step_s"]
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())

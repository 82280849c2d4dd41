"""A step shared by processes: its time for one and for two of them, and the exact tree beside a plain all-reduce.

    python benchmarks/scale_out.py                      # nothing else may run on the machine
    python benchmarks/scale_out.py --processes 1 2 4 --rounds 3

Every row is a group of processes that torchrun starts, with one thread each, on the CPU over gloo. They make optimizer
steps of stage 4 of `tiny` on random weights (gpu_worker.py), eight micro-batches of eight samples a step; the two ways
of adding take turns, step by step. Beside that the exchange alone is timed, for gradients of other sizes: that of the
paper's adapters is 31,457,280 numbers. A row's number is the median over rounds of its median. The bits of the tree
must be those of one process; those of the all-reduce are shown beside. Results: benchmarks/results/scale_out.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpu_common import ROOT, read_profile  # puts the project on the path

from tinygptv.ground import runtime
from tinygptv.ground.arguments import Parser
from tinygptv.ground.files import write_json
from tinygptv.ground.tables import plain_table

RESULTS = ROOT / "benchmarks" / "results" / "scale_out.json"
STAGE, SETTINGS = "stage4", {"stage4.micro_batch_size": 8, "runtime.threads": 1}
LEAVES = 8
GRADIENTS = (1_000_000, 31_457_280)
"""Numbers of the gradients whose exchange is timed alone; the last are the paper's adapters."""
WAYS = ("tree", "all-reduce")
WARM_UP = 2


def main() -> int:
    """Measure, print the tables, write the results."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="of a group (1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="groups of each size (5)")
    parser.add_argument("--steps", type=int, default=10, help="of each way in a group (10)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.rounds, options.steps, *options.processes) < 1:
        parser.error("--rounds, --steps and --processes of at least 1")
    if options.child:
        share(options.steps, options.child)
        return 0
    groups: dict[int, list[dict[str, Any]]] = {size: [] for size in options.processes}
    for _ in range(options.rounds):
        for size in options.processes:
            groups[size].append(group(size, options.steps))
    found = {size: summary(rounds) for size, rounds in groups.items()}
    first = found[options.processes[0]]["step_s"]["tree"]
    rows = []
    for size, row in found.items():
        tree, plain = (row["step_s"][way] for way in WAYS)
        efficiency = first * options.processes[0] / (size * tree)
        times = (f"{1000 * tree:.1f} ms", f"{1000 * plain:.1f} ms", f"{efficiency:.0%}")
        rows.append((str(size), *times, row["bits"]["tree"][:12], row["bits"]["all-reduce"][:12]))
    print(plain_table(("processes", "tree", "all-reduce", "efficiency", "bits", "bits"), rows, right=range(1, 4)))
    header = ("processes", "numbers", "tree", "all-reduce")
    alone = [
        (str(size), f"{int(numbers):,}", *(f"{1000 * seconds:.1f} ms" for seconds in ways.values()))
        for size, row in found.items()
        for numbers, ways in row["exchange_s"].items()
    ]
    print(plain_table(header, alone, right=range(1, 4)))
    same = len({row["bits"]["tree"] for row in found.values()}) == 1
    print("the tree's bits are " + ("the same for all" if same else "NOT THE SAME"))
    shown = {str(size): row | {"rounds": groups[size]} for size, row in found.items()}
    write_json(RESULTS, {"environment": runtime.environment(), "cores": os.cpu_count(), "processes": shown})
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return 0 if same else 1


def summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds; a group's bits are the same each time."""
    (bits,) = {json.dumps(found["bits"], sort_keys=True) for found in rounds}
    steps = {way: statistics.median(found["step_s"][way] for found in rounds) for way in WAYS}
    exchange = {
        str(size): {way: statistics.median(found["exchange_s"][str(size)][way] for found in rounds) for way in WAYS}
        for size in GRADIENTS
    }
    return {"step_s": steps, "exchange_s": exchange, "bits": json.loads(bits)}


def group(size: int, steps: int) -> dict[str, Any]:
    """What the main process of a group measured."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)]
        child = [__file__, "--steps", str(steps), "--child", str(out)]
        subprocess.run([*launch, *child], check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found: dict[str, Any] = json.loads(out.read_bytes())
        return found


def share(steps: int, out: Path) -> None:
    """A process of a group: its part of every step, and of every exchange."""
    from tinygptv.ground.workers import Workers

    workers = Workers.join()
    step_s, bits = training(steps, workers)
    exchange_s = {str(size): exchange(size, workers) for size in GRADIENTS}
    if workers.is_main:
        out.write_text(json.dumps({"step_s": step_s, "exchange_s": exchange_s, "bits": bits}))
    workers.barrier()
    workers.leave()


def training(steps: int, workers: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of a step, and the digest of the trained weights, by way of adding."""
    import torch
    from gpu_worker import Case, build, longest_step

    from tinygptv.model import adapters
    from tinygptv.training import loop, step, sums
    from tinygptv.training.optimizer import set_learning_rate

    config = read_profile(ROOT / "configs" / "tiny.yaml", SETTINGS)
    config.runtime.device = "cpu"
    stage = config.stage(STAGE)
    case = Case(
        profile="tiny",
        stage=STAGE,
        device="cpu",
        settings=SETTINGS,
        tower=False,
        gpu=24.0,
        steps=steps,
        warmup=WARM_UP,
        seconds=60.0,
        plan_only=False,
        cache="",
    )
    states, seconds = {}, {way: list[float]() for way in WAYS}
    for way in WAYS:
        device = runtime.prepare(config.runtime, 1)
        model = build(config, case, device)
        states[way] = loop.new_state(model, adapters.trainable_parameters(model), stage, (7, STAGE), workers)
        set_learning_rate(states[way].optimizer, stage.learning_rate.init)
    torch.manual_seed(2)
    batches = longest_step(config, stage)
    assert len(batches) == LEAVES
    mine = [batches[leaf] for leaf in workers.share(LEAVES)]
    adding = {"tree": sums.over_processes, "all-reduce": all_reduced}
    for _ in range(WARM_UP + steps):
        for way in WAYS:
            step.over_processes = adding[way]
            seconds[way].append(timed(lambda way=way: loop.optimizer_step(states[way], mine, stage), workers))
    bits = {}
    for way, state in states.items():
        content = b"".join(parameter.detach().numpy().tobytes() for parameter in state.parameters.values())
        bits[way] = hashlib.sha256(content).hexdigest()
    return {way: statistics.median(found[WARM_UP:]) for way, found in seconds.items()}, bits


def exchange(size: int, workers: Any) -> dict[str, float]:
    """Seconds of adding over processes alone, for a gradient of so many numbers."""
    import torch

    from tinygptv.training.sums import GradientSum, TreeSum, nodes_of, over_processes

    def once(add: Callable[..., Any]) -> float:
        tree: TreeSum[GradientSum] = TreeSum(LEAVES, GradientSum.add)
        for node in nodes_of(workers.share(LEAVES), LEAVES):
            tree.put(node, GradientSum(torch.zeros((), dtype=torch.float64), [torch.ones(size)]))
        like = [torch.empty(size)]
        return timed(lambda: add(tree, LEAVES, like, workers), workers)

    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(1 + 3):
        for way, add in zip(WAYS, (over_processes, all_reduced), strict=True):
            found[way].append(once(add))
    return {way: statistics.median(seconds[1:]) for way, seconds in found.items()}


def timed(work: Callable[[], object], workers: Any) -> float:
    """Seconds of what all begin together."""
    workers.barrier()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def all_reduced(tree: Any, _: int, like: Sequence[Any], workers: Any) -> Any:
    """As data parallelism is mostly done: leaves of a process one after the other, then a library's all-reduce."""
    import torch
    from torch import distributed

    total, *others = [part for _, part in tree.parts]
    for part in others:
        total.add(part)
    if workers.size > 1:
        flat = torch.cat([gradient.flatten() for gradient in total.gradients])
        distributed.all_reduce(flat)
        distributed.all_reduce(total.loss)
        for gradient, values in zip(total.gradients, flat.split([each.numel() for each in like]), strict=True):
            gradient.copy_(values.view_as(gradient))
    return total


if __name__ == "__main__":
    sys.exit(main())

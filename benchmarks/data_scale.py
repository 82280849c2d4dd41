"""Do the steps before training, and the start of a stage, scale: memory that does not grow, the speed of bare decoding.

    python benchmarks/data_scale.py                                # 100,000 images: 17 GB of disk, about 20 minutes
    python benchmarks/data_scale.py --records 2000 --rounds 1      # a trial

Images of 640 x 480, made from a few and different in some bytes, go as a LLaVA data set through the real steps
``download``, ``shards`` and ``features`` with the smoke model: a tenth of them, then all. Of every process Linux keeps
the peak of its resident memory. At a tenth, step and baseline take turns (A B A B); the baseline is the same number of
processes that do nothing but decode and resize, for ``features`` also the bare forward pass. A step's time is that of
its process, start and end included; the baseline's begins with its first image. The ratio is the median over the turns.

Then the start of a stage on an index of 5,440,000 records, in fresh processes: what index, check, trace and first batch
add after the imports and without the model, at step 0 and at step 80,000. Results: benchmarks/results/data_scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import data_scale_made as made
from data_scale_watch import Watched, watch

from tinygptv.ground.arguments import Parser

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "data_scale.json"
STEPS = ("download", "shards", "features")
BASELINES = {"shards": "decode", "features": "encode"}
RESUMED_AT = (0, 80_000)


def main() -> int:
    """Measure, print the tables, write the results."""
    options = parse_arguments()
    from tinygptv.ground.errors import UserError
    from tinygptv.ground.files import write_json
    from tinygptv.ground.runtime import environment

    try:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            folder = Path(scratch)
            steps = measure_steps(folder, options.records, options.rounds, options.workers)
            start = measure_start(folder / "start", options.index, options.rounds)
    except UserError as error:
        print(f"data_scale: {error}", file=sys.stderr)
        return 2
    content = {
        "records": options.records,
        "rounds": options.rounds,
        "workers": options.workers,
        "cores": len(os.sched_getaffinity(0)),
        "environment": environment(),
        "image": {"width": made.WIDTH, "height": made.HEIGHT, "bytes": len(next(made.images(1))[1])},
        "steps": steps,
        "start": start,
    }
    print(tables(content))
    write_json(options.out, content)
    print(f"written to {options.out}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="images of the larger data set")
    parser.add_argument("--index", type=int, default=5_440_000, help="records of the index")
    parser.add_argument("--rounds", type=int, default=3, help="turns of step and baseline, and starts of the stage")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes of a step")
    parser.add_argument("--scratch", type=Path, help="where data sets and outputs go (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results (default: benchmarks/results)")
    options = parser.parse_args()
    if options.records < 10 or options.index < 1000 or options.rounds < 1:
        parser.error("--records of at least 10, --index of at least 1000 and --rounds of at least 1")
    return options


def measure_steps(folder: Path, records: int, rounds: int, workers: int) -> dict[str, Any]:
    """Step → peaks and images a second of a tenth and of all, beside the baseline's."""
    few = records // 10
    tenth, whole = folder / "tenth", folder / "whole"
    for data, count in ((tenth, few), (whole, records)):
        made.write_set(data, count)
    runs: dict[str, list[Watched]] = {step: [] for step in STEPS}
    bare: dict[str, list[float]] = {step: [] for step in BASELINES}
    for turn in range(rounds):
        for step, watched in run_steps(folder / "checkout", tenth, workers).items():
            runs[step].append(watched)
        for step, kind in BASELINES.items():
            bare[step].append(baseline(kind, tenth / "images", folder / "checkout", workers))
        told = ", ".join(f"{step} {few / runs[step][-1].seconds:.0f}/s ({bare[step][-1]:.0f}/s bare)" for step in bare)
        print(f"turn {turn + 1}: {told}", flush=True)
    large = run_steps(folder / "checkout", whole, workers)
    shutil.rmtree(folder / "checkout")
    return {step: figures(runs[step], large[step], bare.get(step), few, records) for step in STEPS}


def run_steps(checkout: Path, data: Path, workers: int) -> dict[str, Watched]:
    """The steps, from nothing."""
    shutil.rmtree(checkout, ignore_errors=True)
    made.write_checkout(checkout, data, workers)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "TINYGPTV"))}
    environment |= {"DVC_ROOT": str(checkout), "PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, "-m", "tinygptv.steps"]
    return {step: watch([*command, step, "--profile", made.PROFILE], environment, checkout) for step in STEPS}


def baseline(kind: str, images: Path, checkout: Path, workers: int) -> float:
    """Images a second without anything that a step does beside."""
    profile = checkout / "configs" / f"{made.PROFILE}.yaml"
    size = str(json.loads(profile.read_text())["stage1"]["image_size"])
    with_encoder = [str(profile), str(checkout / "data" / made.PROFILE / "backbones")] if kind == "encode" else []
    found = in_process("data_scale_child", kind, images, size, workers, *with_encoder)
    return found["images"] / found["seconds"]


def figures(runs: list[Watched], large: Watched, bare: list[float] | None, few: int, records: int) -> dict[str, Any]:
    """What is told of a step."""
    rates = [few / run.seconds for run in runs]
    found: dict[str, Any] = {
        "peak_mib": {
            str(count): {kind: largest([run.peaks_mib[kind] for run in of_count]) for kind in ("step", "workers")}
            for count, of_count in ((few, runs), (records, [large]))
        },
        "images_per_second": {
            str(few): [round(rate, 1) for rate in rates],
            str(records): round(records / large.seconds, 1),
        },
        "seconds": {str(few): [round(run.seconds, 2) for run in runs], str(records): round(large.seconds, 2)},
    }
    if bare:
        found["baseline_images_per_second"] = [round(rate, 1) for rate in bare]
        found["ratio"] = {
            str(few): round(statistics.median(rate / of_bare for rate, of_bare in zip(rates, bare, strict=True)), 3),
            str(records): round(records / large.seconds / statistics.median(bare), 3),
        }
    return found


def largest(peaks: list[list[float]]) -> list[float]:
    """Of runs of a step, each process's peak, the largest of all runs; processes that worked in one alone are there."""
    longest = max(map(len, peaks))
    padded = [[*of_run, *[0.0] * (longest - len(of_run))] for of_run in peaks]
    return [round(max(values), 1) for values in zip(*padded, strict=True)]


def measure_start(folder: Path, records: int, rounds: int) -> dict[str, Any]:
    """Step at which a stage begins → seconds of each part, medians, and MiB, the most of all rounds."""
    script = ROOT / "benchmarks" / "data_scale_start.py"
    subprocess.run([sys.executable, script, "make", folder, str(records)], check=True)
    found: dict[str, Any] = {"records": records}
    for step in RESUMED_AT:
        runs = [in_process("data_scale_start", "start", folder, step) for _ in range(rounds)]
        found[f"step {step}"] = {
            "seconds": {
                part: round(statistics.median(run["seconds"][part] for run in runs), 3) for part in runs[0]["seconds"]
            },
            "in all, every round": [run["seconds"]["in all"] for run in runs],
            "mib": max(run["mib"] for run in runs),
            "of_mapped_files_mib": max(run["of_mapped_files_mib"] for run in runs),
        }
    return found


def in_process(script: str, *arguments: object) -> dict[str, Any]:
    """What a script says in its last line."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *map(str, arguments)]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    )
    return found


def tables(content: dict[str, Any]) -> str:
    """The results for a terminal."""
    from tinygptv.ground.tables import plain_table

    rows = []
    for step, found in content["steps"].items():
        for count, peaks in found["peak_mib"].items():
            rate, ratio = found["images_per_second"][count], found.get("ratio", {}).get(count)
            middle = statistics.median(rate) if isinstance(rate, list) else rate
            workers = f"{peaks['workers'][0]:.0f}" if peaks["workers"] else "-"
            of_bare = "" if ratio is None else f"{ratio:.2f}"
            rows.append((step, f"{int(count):,}", f"{peaks['step'][0]:.0f}", workers, f"{middle:.0f}", of_bare))
    head = ("step", "images", "MiB", "a worker, MiB", "images/s", "of the baseline")
    starts = [
        (
            name,
            *(f"{value:.3f}" for value in found["seconds"].values()),
            f"{found['mib']:.0f}",
            f"{found['of_mapped_files_mib']:.0f}",
        )
        for name, found in content["start"].items()
        if name != "records"
    ]
    parts = next(found["seconds"] for name, found in content["start"].items() if name != "records")
    of_start = (f"{content['start']['records']:,} records", *(f"{part}, s" for part in parts), "MiB", "mapped, MiB")
    return "\n\n".join(
        (plain_table(head, rows, right=range(1, 6)), plain_table(of_start, starts, right=range(1, len(of_start))))
    )


if __name__ == "__main__":
    sys.exit(main())

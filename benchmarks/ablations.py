"""The ablations of the paper, run for real on the tiny profile: `python benchmarks/ablations.py [NAME ...]`.

Each variant of configs/ablations/tiny.yaml trains in a clone of the last commit below .state/ablations, with DVC's
cache shared, so that steps which it does not change are not run again. Results: benchmarks/results/ablations.json,
the figure beside it, and the table in docs/ablations.md. About five minutes a variant on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tinygptv.config.profiles import read_profile
from tinygptv.evaluation.ablations import Ablation, change, curves, markdown_table
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.ground import runtime
from tinygptv.ground.errors import EXIT_USER_ERROR, complain
from tinygptv.ground.files import read_json, write_json, write_text
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ROOT / "configs" / "ablations" / "tiny.yaml"
RESULTS, FIGURE = ROOT / "benchmarks" / "results" / "ablations.json", ROOT / "benchmarks" / "results" / "ablations.png"
PAGE = ROOT / "docs" / "ablations.md"
BEGIN, END = "<!-- table: benchmarks/ablations.py -->", "<!-- end of table -->"


def clone(name: str, changes: dict[str, Any]) -> Path:
    """A clone of the last commit with the variant's profile."""
    folder = ROOT / ".state" / "ablations" / name.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    write_text(folder / ".dvc" / "config.local", f"[cache]\n    dir = {ROOT / '.dvc' / 'cache'}\n")
    path = folder / "configs" / "tiny.yaml"
    round_trip = YAML()
    content = round_trip.load(path.read_text())
    change(content, changes, f"{VARIANTS}: {name}")
    with path.open("w") as file:
        round_trip.dump(content, file)
    return folder


def train(folder: Path) -> Ablation:
    """Run the variant as far as it goes."""
    environment = os.environ | {"TINYGPTV_PYTHON": sys.executable}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    stopped, accuracy = "", None
    command = ["dvc", "repro", "evaluate"]
    done = subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "is not finite" in line]
        if not lines:
            sys.exit(f"{folder}: dvc repro failed for another reason than the loss:\n{done.stderr}")
        stopped = lines[-1].strip()
    else:
        first = asks_of(read_profile(folder, "tiny").config)[0].name
        accuracy = read_json(folder / "reports" / "tiny" / "evaluate.json")["benchmarks"][first]["value"]
    data = folder / "data" / "tiny"
    histories = {s: read_json(data / s / "history.json") for s in STAGES if (data / s / "history.json").is_file()}
    return Ablation(histories, stopped, accuracy)


def report(results: dict[str, Any]) -> None:
    """Write figure and table."""
    ablations = {name: Ablation(**entry["ablation"]) for name, entry in results["variants"].items()}
    curves(ablations, FIGURE)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    write_text(PAGE, f"{head}{BEGIN}\n{markdown_table(ablations)}\n{END}{tail}")


def main() -> None:
    """Train the named variants, or all, and report all that were ever trained."""
    variants: dict[str, dict[str, Any]] = read_yaml(VARIANTS)
    chosen = sys.argv[1:] or list(variants)
    if unknown := [name for name in chosen if name not in variants]:
        complain("ablations", f"no variant {unknown[0]!r} in {VARIANTS}; there are {', '.join(variants)}")
        sys.exit(EXIT_USER_ERROR)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"variants": {}}
    results["environment"] = runtime.environment()
    for name in chosen:
        started = time.monotonic()
        ablation = train(clone(name, variants[name]))
        results["variants"][name] = {"changes": variants[name], "ablation": asdict(ablation)}
        results["variants"] = {key: results["variants"][key] for key in variants if key in results["variants"]}
        RESULTS.parent.mkdir(exist_ok=True)
        write_json(RESULTS, results)
        print(f"{name}: {time.monotonic() - started:.0f} s {ablation.stopped}", flush=True)
    report(results)


if __name__ == "__main__":
    main()

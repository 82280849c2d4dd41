"""The ablations of the paper, run for real on the tiny profile: `benchmarks/ablations.py [--family F] [NAME ...]`.

A family is a file of configs/ablations: `tiny` (Phi-2, where none is named), `llama` (TinyLLaMA), `backbones` (both,
with both towers). Each variant trains in a clone of the last commit below .state/ablations, with DVC's cache shared, so
that steps which it does not change are not run again. Results: benchmarks/results/ablations.json (of another family
ablations-F.json), the figure beside it, and the table in docs/ablations.md. About five minutes a variant on two cores.
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
from tinygptv.evaluation.ablations import PAPER, Ablation, change, curves, markdown_table
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.ground import runtime
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import EXIT_USER_ERROR, complain
from tinygptv.ground.files import read_json, write_json, write_text
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
FIRST = "tiny"
"""The family that is run where none is named."""
PAGE = ROOT / "docs" / "ablations.md"
END = "<!-- end of table -->"


def variants_of(family: str) -> Path:
    """What the variants of a family change."""
    return ROOT / "configs" / "ablations" / f"{family}.yaml"


def results_of(family: str, kind: str) -> Path:
    """Where a family's results lie: `json`, and `png`."""
    return ROOT / "benchmarks" / "results" / f"ablations{'' if family == FIRST else f'-{family}'}.{kind}"


def begin_of(family: str) -> str:
    """The line before a family's table."""
    return f"<!-- table: benchmarks/ablations.py{'' if family == FIRST else f' --family {family}'} -->"


def clone(family: str, name: str, changes: dict[str, Any]) -> Path:
    """A clone of the last commit with the variant's profile."""
    folder = ROOT / ".state" / "ablations" / f"{family}-{name}".replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    write_text(folder / ".dvc" / "config.local", f"[cache]\n    dir = {ROOT / '.dvc' / 'cache'}\n")
    path = folder / "configs" / "tiny.yaml"
    round_trip = YAML()
    content = round_trip.load(path.read_text())
    change(content, changes, f"{variants_of(family)}: {name}")
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


def report(family: str, results: dict[str, Any]) -> None:
    """Write figure and table."""
    ablations = {name: Ablation(**entry["ablation"]) for name, entry in results["variants"].items()}
    curves(ablations, results_of(family, "png"))
    begin = begin_of(family)
    head, _, rest = PAGE.read_text().partition(begin)
    tail = rest.partition(END)[2] or "\n"
    write_text(PAGE, f"{head}{begin}\n{markdown_table(ablations, family)}\n{END}{tail}")


def main() -> None:
    """Train the named variants of a family, or all, and report all that were ever trained."""
    parser = Parser(prog="benchmarks/ablations.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--family", choices=sorted(PAPER), default=FIRST, help="a file of configs/ablations")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variants (default: all of the family)")
    options = parser.parse_args()
    family, path = options.family, results_of(options.family, "json")
    variants: dict[str, dict[str, Any]] = read_yaml(variants_of(family))
    chosen = options.names or list(variants)
    if unknown := [name for name in chosen if name not in variants]:
        complain("ablations", f"no variant {unknown[0]!r} in {variants_of(family)}; there are {', '.join(variants)}")
        sys.exit(EXIT_USER_ERROR)
    results = json.loads(path.read_text()) if path.is_file() else {"variants": {}}
    results["environment"] = runtime.environment()
    for name in chosen:
        started = time.monotonic()
        ablation = train(clone(family, name, variants[name]))
        results["variants"][name] = {"changes": variants[name], "ablation": asdict(ablation)}
        results["variants"] = {key: results["variants"][key] for key in variants if key in results["variants"]}
        path.parent.mkdir(exist_ok=True)
        write_json(path, results)
        print(f"{name}: {time.monotonic() - started:.0f} s {ablation.stopped}", flush=True)
    report(family, results)


if __name__ == "__main__":
    main()

"""Does ``evaluate`` scale: memory that does not grow with the questions, the same report however often it is killed.

    python benchmarks/evaluate_scale.py                                # 200,000 questions: about half an hour
    python benchmarks/evaluate_scale.py --questions 2000 --kills 2     # a trial

The smoke model, trained by the real steps, is asked questions of a data set of one's own (form ``questions``) about
easy-VQA's test images: a tenth of them, then all. Of every process Linux keeps the peak of its resident memory. Then
a hundredth is asked again and killed (SIGKILL) at random instants until it has come to its end; its report must be the
one of the run that nobody killed. Results: benchmarks/results/evaluate_scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data_scale_watch import Watched, watch

from tinygptv.ground.arguments import Parser

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "evaluate_scale.json"
PROFILE, DATASET = "scale", "asked"
BEFORE = ("download", "shards", "backbones", "features", "stage1", "stage2", "stage3", "stage4")
ASKED_AGAIN = ("download", "shards", "evaluate")


def main() -> int:
    """Measure, print the table, write the results."""
    options = parse_arguments()
    from tinygptv.ground.files import write_json
    from tinygptv.ground.runtime import environment

    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        checkout = Checkout(Path(scratch) / "checkout")
        checkout.write_questions(1)
        for step in BEFORE:
            checkout.run(step)
        few = options.questions // 10
        runs = {count: checkout.ask(count) for count in (few, options.questions)}
        kills = checkout.kill(options.questions // 100, options.kills, options.seed)
    content = {
        "questions": options.questions,
        "cores": len(os.sched_getaffinity(0)),
        "environment": environment(),
        "peak_mib": {str(count): round(run.peaks_mib["step"][0], 1) for count, run in runs.items()},
        "seconds": {str(count): round(run.seconds, 1) for count, run in runs.items()},
        "kills": kills,
    }
    print(table(content))
    write_json(options.out, content)
    print(f"written to {options.out}")
    return 0 if kills["equal"] == kills["trials"] else 1


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=200_000, help="questions of the larger set")
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--scratch", type=Path, help="where data sets and outputs go (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results (default: benchmarks/results)")
    options = parser.parse_args()
    if options.questions < 100 or options.kills < 0:
        parser.error("--questions of at least 100, --kills of at least 0")
    return options


class Checkout:
    """A checkout of this code whose profile asks one set of questions of the smoke model."""

    def __init__(self, folder: Path) -> None:
        from tinygptv.data.formats import easy_vqa
        from tinygptv.ground.yaml_files import read_yaml

        self.folder, self._images = folder, easy_vqa.folder() / "test" / "images"
        shutil.copytree(ROOT / "src", folder / "src")
        shutil.copy(ROOT / "dvc.yaml", folder)
        (folder / "params.yaml").write_text(f"profile: {PROFILE}\nseed: 7\n")
        content: dict[str, Any] = json.loads(json.dumps(read_yaml(ROOT / "configs" / "smoke.yaml")))
        files = {"files": [str(folder / f"{DATASET}.jsonl")], "images": str(self._images)}
        own = {"format": "questions", "split": {"test": 1.0}, "licence": "MIT", **files}
        content["data"] |= {DATASET: own}
        content["evaluate"]["benchmarks"] = [DATASET]
        content["register"]["gate"] |= {"min_value": {DATASET: 0.0}, "margin": {DATASET: 1.0}}
        profile = folder / "configs" / f"{PROFILE}.yaml"
        profile.parent.mkdir()
        profile.write_text(json.dumps(content, indent=1))  # JSON is YAML
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "TINYGPTV"))}
        self._environment = environment | {"DVC_ROOT": str(folder), "PYTHONPATH": str(folder / "src")}

    def write_questions(self, count: int) -> None:
        """So many different questions, about every test image in turn."""
        images = sorted(path.name for path in self._images.iterdir())
        with (self.folder / f"{DATASET}.jsonl").open("w") as lines:
            for number in range(count):
                image = images[number % len(images)]
                question = f"what shape is in the image? ({number // len(images)})"
                entry = {"id": f"q{number}", "image": image, "question": question, "answer": "circle"}
                lines.write(f"{json.dumps(entry)}\n")

    def run(self, step: str) -> Watched:
        """A step, to its end."""
        return watch(self._command(step), self._environment, self.folder)

    def ask(self, count: int) -> Watched:
        """Ask so many questions of a model that was never asked them."""
        self.write_questions(count)
        self._forget()
        return [self.run(step) for step in ASKED_AGAIN][-1]

    def kill(self, count: int, trials: int, seed: int) -> dict[str, Any]:
        """Ask, and be killed at an instant drawn over the time that it takes; then let it come to its end."""
        whole = self.ask(count)
        expected, instants = self._report(), random.Random(seed)
        found = {"trials": trials, "equal": 0, "killed": 0, "questions": count}
        for _ in range(trials):
            self._forget()
            for _ in range(instants.choice((1, 2))):
                found["killed"] += self._killed_after(instants.uniform(0, whole.seconds))
            self.run("evaluate")
            found["equal"] += self._report() == expected
        return found

    def _killed_after(self, seconds: float) -> bool:
        process = subprocess.Popen(
            self._command("evaluate"),
            env=self._environment,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(seconds)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return alive

    def _forget(self) -> None:
        """Remove what ``evaluate`` made and the answers that are kept."""
        for path in (self.folder / "data" / PROFILE / "evaluate", self.folder / ".state" / PROFILE / "answers"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.folder / ".state" / PROFILE / "evaluate", ignore_errors=True)

    def _report(self) -> bytes:
        return (self.folder / "reports" / PROFILE / "evaluate.json").read_bytes()

    def _command(self, step: str) -> list[str]:
        return [sys.executable, "-m", "tinygptv.steps", step, "--profile", PROFILE]


def table(content: dict[str, Any]) -> str:
    """The results for a terminal."""
    from tinygptv.ground.tables import plain_table

    rows = [
        (f"{int(count):,}", f"{peak:.0f}", f"{content['seconds'][count]:.0f}")
        for count, peak in content["peak_mib"].items()
    ]
    kills = content["kills"]
    told = (
        f"{kills['trials']} runs killed {kills['killed']} times: {kills['equal']} reports as of the run nobody killed"
    )
    return f"{plain_table(('questions', 'MiB', 'seconds'), rows, right=range(3))}\n\n{told}"


if __name__ == "__main__":
    sys.exit(main())

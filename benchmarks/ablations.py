"""The ablations of the paper, run for real: `benchmarks/ablations.py [--family F] [--profile P] [--seeds N] [NAME …]`.

A family is a file of configs/ablations: `tiny` (Phi-2, where none is named), `phi15`, `llama` (TinyLLaMA), `backbones`
(language models and towers), or one of your own. Each variant with each seed is an experiment of the flow
(docs/operations.md): the last commit, in a worktree, kept by DVC under a name; a run of MLflow below the family's.

Results: benchmarks/results/ablations.json (of another family ablations-F.json, of another profile than tiny …-P.json),
the figure beside it, and the tables, on the terminal and where docs/ablations.md has a place for them. What the file
has is not trained again as long as the profile, the variant and the code of the steps are what they were; an
interrupted command goes on where it was. About five minutes a variant on two cores with the tiny profile.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinygptv.config import Config
from tinygptv.config.profiles import read_profile
from tinygptv.evaluation.ablations import Ablation, changed, curves, families, markdown_table, read_family
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.ground import runtime, worktree
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import DataError, UserError, complain
from tinygptv.ground.files import canonical, read_json, write_json, write_text
from tinygptv.ground.folders import data_folder, reports_folder, state_folder
from tinygptv.ground.graph import entries_of
from tinygptv.ground.names import STAGES, STEPS
from tinygptv.ground.processes import GRACE_SECONDS, run_guarded
from tinygptv.ground.startup import begin
from tinygptv.ground.tables import plain_table, say
from tinygptv.ground.yaml_files import active_profile

ROOT = Path(__file__).resolve().parents[1]
FIRST = "tiny"
"""The family that is run where none is named, and the profile whose results have no profile in their name."""
LAST_STEP = "evaluate"
PAGE = ROOT / "docs" / "ablations.md"
END = "<!-- end of table -->"
NOT_FINITE = "is not finite"
STOPPED = (130, 143)
LONGEST_WAIT = 120.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant with a seed."""

    variant: str
    seed: int
    changes: dict[str, Any]
    experiment: str
    """Its name in DVC and MLflow."""
    key: str
    """Digest of all that decides its result."""

    @property
    def settings(self) -> list[str]:
        """As options of the flow."""
        values = {**self.changes, "seed": self.seed}
        return [word for name, value in values.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def plan(family: str, profile: str, seeds: int, names: Sequence[str]) -> list[Trial]:
    """What is to be trained, checked.

    Raises:
        UserError: no such variant, a variant that is no valid profile, a profile that is not committed.
    """
    variants = read_family(ROOT, family, profile)
    if unknown := [name for name in names if name not in variants]:
        raise UserError(f"no variant {unknown[0]!r} in {family}.yaml; there are {', '.join(variants)}")
    file = worktree.profile_path(profile)
    if worktree.changed_files(ROOT, file):
        raise UserError(f"{file} is not as the last commit has it, which is what experiments run; commit it")
    first, code, found = read_profile(ROOT, profile).seed, _code(ROOT), []
    for variant in dict.fromkeys(names) or variants:
        config = changed(ROOT, profile, variants[variant], f"configs/ablations/{family}.yaml: {variant}")
        for seed in range(first, first + seeds):
            experiment = f"ablation-{profile}-{family}-{variant}-seed{seed}".replace(" ", "-")
            found.append(Trial(variant, seed, variants[variant], experiment, _key(config, seed, code)))
    return found


def _key(config: Config, seed: int, code: str) -> str:
    return hashlib.sha256(canonical([config.model_dump(mode="json"), seed, code]).encode()).hexdigest()


def _code(root: Path) -> str:
    """What a checkout's commit has of the files on which the steps depend, up to the evaluation."""
    entries, steps = entries_of(root), STEPS[: STEPS.index(LAST_STEP) + 1]
    deps = sorted({dep for step in steps for dep in entries[step]["deps"] if not dep.startswith("data/")})
    command = ["git", "ls-tree", "HEAD", *deps]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def train(trial: Trial, profile: str) -> dict[str, Any]:
    """Run an experiment as far as it goes, and read what it came to; this process ends where it failed."""
    folder = worktree.folder_of(ROOT, f"experiment-{profile}")
    outcomes = state_folder(folder, profile) / "pipeline.json"
    outcomes.unlink(missing_ok=True)
    began = time.time_ns() // 1_000_000
    _forget(trial.experiment, worktree.last_commit(ROOT))
    name = ["--name", trial.experiment, *trial.settings]
    command = [sys.executable, "-m", "flows.pipeline", "--profile", profile, "--to", LAST_STEP, *name]
    code = run_guarded(command, cwd=ROOT, grace=3 * GRACE_SECONDS)
    if code in STOPPED or (code and not outcomes.is_file()):
        sys.exit(code)  # it has said why
    steps = read_json(outcomes)["steps"]
    reasons = [step["reason"] for step in steps if step["state"] == "Failed"]
    if code and not any(NOT_FINITE in reason for reason in reasons):
        sys.exit(code)
    reached = [step["step"] for step in steps if step["state"] in ("Completed", "Cached", "UpToDate")]
    data, made = data_folder(folder, profile), read_profile(folder, profile)
    return asdict(trial) | {
        "key": _key(made.config, made.seed, _code(folder)),  # of what ran: the checkout may have another commit by now
        "commit": worktree.last_commit(folder),
        "began": began,
        "ended": time.time_ns() // 1_000_000,
        "environment": runtime.environment(),
        "histories": {stage: read_json(data / stage / "history.json") for stage in STAGES if stage in reached},
        "stopped": reasons[0] if code else "",
        "accuracy": None if code else _accuracy(made.config, reports_folder(folder, profile)),
    }


def _forget(experiment: str, commit: str) -> None:
    """Remove an experiment of this name and commit that DVC keeps: its results did not get into ours."""
    ref = f"refs/exps/{commit[:2]}/{commit[2:]}/{experiment}"
    if not subprocess.run(["git", "show-ref", "--quiet", ref], cwd=ROOT, check=False).returncode:
        subprocess.run([sys.executable, "-m", "dvc", "exp", "remove", "--quiet", experiment], cwd=ROOT, check=True)


def _accuracy(config: Config, reports: Path) -> float:
    first = asks_of(config)[0].name
    return float(read_json(reports / "evaluate.json")["benchmarks"][first]["value"])


def results_of(family: str, profile: str, kind: str) -> Path:
    """Where results lie: `json`, and `png`."""
    named = "".join(f"-{name}" for name in (family, profile) if name != FIRST)
    return ROOT / "benchmarks" / "results" / f"ablations{named}.{kind}"


def begin_of(family: str, profile: str) -> str:
    """The line before a family's tables on the page."""
    options = {"family": family, "profile": profile}
    named = "".join(f" --{option} {name}" for option, name in options.items() if name != FIRST)
    return f"<!-- table: benchmarks/ablations.py{named} -->"


def report(results: dict[str, Any]) -> None:
    """Draw the figure and print the tables; put them on the page where it has a place for them."""
    family, profile = results["family"], results["profile"]
    found: dict[str, list[Ablation]] = defaultdict(list)
    for one in results["trained"]:
        found[one["variant"]].append(Ablation(one["histories"], one["stopped"], one["accuracy"]))
    if not found:
        raise UserError(f"{results_of(family, profile, 'json')} has no results; run without --report")
    curves(found, results_of(family, profile, "png"))
    tables, begin = markdown_table(found, family), begin_of(family, profile)
    say(tables)
    head, found_it, rest = PAGE.read_text().partition(begin)
    if found_it:
        write_text(PAGE, f"{head}{begin}\n{tables}\n{END}{rest.partition(END)[2]}")


def record(path: Path) -> None:
    """Hand the results to MLflow: all of them, so that what it did not take before arrives with the next ones."""
    command = [sys.executable, "-m", "tinygptv.tracking", "record-ablations", "--file", str(path)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONGEST_WAIT)
    except subprocess.TimeoutExpired:
        complain("ablations", f"MLflow did not answer within {LONGEST_WAIT:.0f} s; the same command tries again")
        return
    if done.returncode:
        complain("ablations", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    else:
        say(f"in MLflow: {done.stdout.strip()}")


def read_results(family: str, profile: str) -> dict[str, Any]:
    """What was trained before."""
    path = results_of(family, profile, "json")
    found: dict[str, Any] = read_json(path) if path.is_file() else {"family": family, "profile": profile, "trained": []}
    if "trained" not in found:
        raise DataError(f"{path} is of an earlier version; move it away")
    return found


def with_result(results: dict[str, Any], one: dict[str, Any], variants: Sequence[str]) -> dict[str, Any]:
    """The results with another one in the place of that of the same variant and seed, in the family's order."""
    same = (one["variant"], one["seed"])
    others = [other for other in results["trained"] if (other["variant"], other["seed"]) != same]
    known = [other for other in (*others, one) if other["variant"] in variants]
    return results | {"trained": sorted(known, key=lambda one: (variants.index(one["variant"]), one["seed"]))}


def main() -> None:
    """Train what of a family is not trained yet, and report all that were ever trained."""
    parser = Parser(prog="benchmarks/ablations.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--family", choices=families(ROOT), default=FIRST, help="a file of configs/ablations")
    parser.add_argument("--profile", metavar="NAME", help="configs/NAME.yaml (default: that of params.yaml)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="that of params.yaml and the N - 1 after it")
    parser.add_argument("--dry-run", action="store_true", help="check the variants and say what would be trained")
    parser.add_argument("--report", action="store_true", help="tables and figure of what was trained")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variants (default: all of the family)")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error("--seeds of at least 1")
    try:
        run(options.family, options.profile or active_profile(ROOT), options)
    except UserError as error:
        complain("ablations", error)
        sys.exit(error.exit_code)


def run(family: str, profile: str, options: Any) -> None:
    """Do what the command asks."""
    results = read_results(family, profile)
    if options.report:
        report(results)
        return
    trials = plan(family, profile, options.seeds, options.names)
    done = {one["key"] for one in results["trained"]}
    if options.dry_run:
        show(trials, done, profile)
        return
    variants, path = list(read_family(ROOT, family, profile)), results_of(family, profile, "json")
    left = [trial for trial in trials if trial.key not in done]
    for trial in trials:
        if trial not in left:
            say(f"{trial.experiment}: trained already, in {path.name}")
    for trial in left:
        one = train(trial, profile)
        results = with_result(results, one, variants)
        write_json(path, results)
        say(f"{trial.experiment}: {(one['ended'] - one['began']) / 1000:.0f} s {one['stopped']}")
        record(path)
    if not left:
        record(path)
    report(results)


def show(trials: Sequence[Trial], done: set[str], profile: str) -> None:
    """Say what would be trained."""
    rows = [
        (trial.variant, str(trial.seed), "trained" if trial.key in done else "to train", shlex.join(trial.settings))
        for trial in trials
    ]
    say(plain_table(("variant", "seed", "", "changes"), rows))
    left = sum(trial.key not in done for trial in trials)
    say(f"{left} of {len(trials)} to train with the profile {profile}; every one is valid there")


if __name__ == "__main__":
    begin()
    main()

"""``python -m flows.pipeline [--from STEP] [--to STEP] [--force STEP] [--profile NAME] [--set KEY=VALUE]``.

This is the launcher. It reads the graph, isolates Prefect, starts the flow (``flows/flow.py``) in its own process,
and ends everything below it whatever happens. Exit codes: 0 done, 1 a step failed, 2 something the user can mend,
128+n stopped by signal n.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from flows import experiments
from flows.command import machine
from flows.environment import isolated, server_address
from flows.graph import RunPlan, read_graph, select
from flows.runner import StepOutcome, read_outcomes
from tinygptv.ground import worktree
from tinygptv.ground.arguments import Parser
from tinygptv.ground.crew import RUNNERS
from tinygptv.ground.errors import EXIT_USER_ERROR, UserError, meant
from tinygptv.ground.file_names import PARAMS
from tinygptv.ground.folders import data_folder, find_root, reports_folder
from tinygptv.ground.processes import GRACE_SECONDS, run_guarded
from tinygptv.ground.startup import outlive_readers
from tinygptv.ground.tables import plain_table, say
from tinygptv.ground.yaml_files import profile_names, read_yaml
from tinygptv.results import verdict_of

CLOSE_SECONDS = 120.0
LAST_WORD = "evaluate"
"""The step whose report says in plain words what was learned."""
STOPPED = (130, 143)
"""Exit codes of a flow that had the time to tell Prefect itself."""


def main(arguments: list[str] | None = None) -> int:
    """Run the pipeline and return the exit code."""
    outlive_readers()
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        root, here = find_root(Path.cwd()), machine(options.processes, options.runner)
        plan = make_plan(
            root,
            options.profile,
            options.first,
            options.last,
            options.force,
            tracked=not options.no_parent_run,
            settings=options.settings,
            name=options.name,
        )
    except UserError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    environment = isolated(os.environ, root, options.server) | here
    if plan.root != root:
        environment.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    if plan.experiment:
        environment |= experiments.environment(plan)
    flow = [sys.executable, "-m", "flows.flow", plan.model_dump_json()]
    code = run_guarded(flow, env=environment, cwd=plan.root, grace=2 * GRACE_SECONDS)
    if code not in STOPPED and plan.flow_mark.exists() and "PREFECT_API_URL" in environment:
        _close_in_prefect(plan, environment)
    outcomes = read_outcomes(plan)
    url = close_parent_run(plan, outcomes, code, environment) if plan.tracked else ""
    code = _conclude(outcomes, code, time.monotonic() - started, url)
    if not code and any(outcome.step == LAST_WORD for outcome in outcomes):
        print(verdict_of(plan.root, plan.profile))
    if not code and plan.root != root and not plan.experiment:
        _tell_where(root, plan)
    return _keep(root, plan, environment) if plan.experiment and not code else code


def _parser() -> Parser:
    parser = Parser(
        prog="python -m flows.pipeline", description="Run the pipeline: DVC decides what has to run, Prefect shows it."
    )
    parser.add_argument("--from", dest="first", metavar="STEP", help="this step and all that depends on it")
    parser.add_argument("--to", dest="last", metavar="STEP", help="this step and all it depends on")
    parser.add_argument("--force", metavar="STEP", action="append", default=[], help="run it though nothing changed")
    parser.add_argument(
        "--profile", metavar="NAME", help="configs/NAME.yaml; another than in params.yaml runs in a git worktree"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an experiment with another value of the profile, or seed=N; may be given several times",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="so many processes share a step's work (default: the machine's own)"
    )
    parser.add_argument("--runner", choices=RUNNERS, help="where they are, but for those of the stages")
    parser.add_argument("--name", help="the experiment's name in DVC and MLflow (default: one that is made up)")
    parser.add_argument(
        "--server", metavar="URL", type=server_address, help="a Prefect API, such as http://127.0.0.1:4200/api"
    )
    parser.add_argument(
        "--no-parent-run", action="store_true", help="open no MLflow run of the pipeline; steps record themselves alone"
    )
    return parser


def make_plan(
    root: Path,
    profile: str | None,
    first: str | None,
    last: str | None,
    force: list[str],
    tracked: bool = True,
    nightly: bool = False,
    say: Callable[[str], None] = say,
    settings: Sequence[str] = (),
    name: str | None = None,
) -> RunPlan:
    """What to run and where.

    Args:
        root: the main checkout.
        profile: its name; None for that of ``params.yaml``.
        first: this step and all that depends on it.
        last: this step and all it depends on.
        force: steps to run though nothing changed.
        tracked: whether the pipeline gets an MLflow run of its own.
        nightly: work in the worktree of scheduled runs, whichever profile it is; otherwise only a profile other than
            that of ``params.yaml`` has a worktree.
        say: takes the lines that tell where.
        settings: other values, ``KEY=VALUE`` each: an experiment, which has a worktree whichever profile it is.
        name: of the experiment; None for one that is made up.

    Raises:
        UserError: an unknown step, profile or key, a graph that DVC cannot read, no commit for a worktree.
    """
    params = read_yaml(root / PARAMS)
    active = str(params["profile"]) if isinstance(params, dict) and "profile" in params else ""
    profile = profile if profile is not None else active
    if name is not None and not settings:
        raise UserError(f"--name {name} names an experiment; add --set KEY=VALUE")
    names = profile_names(root / "configs")
    if profile not in names:
        raise UserError(f"no profile `{profile}` in configs/; there are {', '.join(names)}{meant(profile, names)}")
    where, experiment, what = root, "", f"profile {profile}"
    if settings:
        where, experiment = experiments.begin(root, profile, settings, name)
        what = f"experiment {experiment}"
    elif nightly or profile != active:
        where = worktree.prepare(root, profile, nightly=nightly, say=say)
    if where != root:
        say(f"{what} runs in {where.relative_to(root)}")
        own = worktree.profile_path(profile) if not (nightly or settings) else ""
        if changed := [name for name in worktree.changed_files(root) if name != own]:
            say(f"it holds the last commit: {len(changed)} changed files of the checkout are not in it")
        for name in _raw_files(root / worktree.profile_path(profile), changed):
            say(f"{name} is a file of the data and is read as it was committed; commit it to train on what it is now")
    return RunPlan(
        root=where,
        profile=profile,
        pipeline=uuid.uuid4().hex,
        steps=tuple(select(read_graph(where), first, last, force)),
        force=tuple(force),
        tracked=tracked,
        experiment=experiment,
    )


def _raw_files(profile: Path, names: Sequence[str]) -> list[str]:
    """Those of some files of the checkout that a profile's data sets name, or that lie in a folder that they name."""
    content = read_yaml(profile) if profile.is_file() else None
    sets = content.get("data") if isinstance(content, dict) else None
    settings = [of_set for of_set in sets.values() if isinstance(of_set, dict)] if isinstance(sets, dict) else []
    named = [str(name) for of_set in settings for name in (*(of_set.get("files") or ()), of_set.get("images") or "")]
    return [name for name in names if any(one and PurePosixPath(name).is_relative_to(one) for one in named)]


def _close_in_prefect(plan: RunPlan, environment: Mapping[str, str]) -> None:
    """Tell a server that stays that the flow is gone, where the flow could not; otherwise the next flow does it."""
    command = [sys.executable, "-m", "flows.reconcile", str(plan.flow_mark.parent)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=CLOSE_SECONDS)
        closed = done.returncode == 0
    except subprocess.TimeoutExpired:
        closed = False
    if not closed:
        print("pipeline: Prefect was not told that the flow has ended; the next flow does it", file=sys.stderr)


def close_parent_run(plan: RunPlan, outcomes: list[StepOutcome], code: int, environment: Mapping[str, str]) -> str:
    """Say in MLflow how the pipeline ended and what DVC skipped; return the run's URL."""
    status = "FINISHED" if code == 0 else "FAILED" if code == 1 else "KILLED"
    skipped = ",".join(outcome.step for outcome in outcomes if outcome.skipped)
    command = plan.tracking_command("close-pipeline", "--status", status, "--skipped", skipped)
    try:
        done = subprocess.run(
            command,
            cwd=plan.root,
            env=plan.tracking_environment(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=CLOSE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        print(f"pipeline: MLflow did not answer within {CLOSE_SECONDS:.0f} s; its run stays open", file=sys.stderr)
        return ""
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"pipeline: the MLflow run was not closed: {reason}", file=sys.stderr)
        return ""
    return (done.stdout.strip().splitlines() or [""])[-1]


def _keep(root: Path, plan: RunPlan, environment: Mapping[str, str]) -> int:
    """Let DVC keep the experiment, and say where it can be looked at."""
    try:
        experiments.keep(plan, environment)
    except UserError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return 1
    where = plan.root.relative_to(root)
    print(f"experiment {plan.experiment}: `dvc exp show`, `tinygptv results --profile {plan.profile} --root {where}`")
    return 0


def _tell_where(root: Path, plan: RunPlan) -> None:
    """The commands that find what a profile with a worktree has made, from the checkout."""
    name = plan.profile
    print(f"results: `tinygptv results --profile {name}`; pictures and curves: {_reports(root, plan)}")
    if (data_folder(plan.root, name) / "quantize").is_dir():
        print(f'ask it: `tinygptv ask PICTURE "QUESTION" --profile {name}`')
    settings = read_yaml(plan.root / worktree.profile_path(name))
    model = settings.get("register", {}).get("model_name") if isinstance(settings, dict) else None
    if model and "register" in {step.name for step in plan.steps}:
        print(
            f"serve it: `tinygptv serve models:/{model}@champion`; is it champion: `tinygptv promote --profile {name}`"
        )


def _reports(root: Path, plan: RunPlan) -> Path:
    folder = reports_folder(plan.root, plan.profile)
    return folder.relative_to(root) if folder.is_relative_to(root) else folder


def _conclude(outcomes: list[StepOutcome], code: int, seconds: float, url: str) -> int:
    """Print the table of steps and the reason of a failure; return the launcher's exit code."""
    rows = [
        (outcome.step, outcome.state, f"{outcome.seconds:.1f}" if outcome.state != "NotRun" else "")
        for outcome in outcomes
    ]
    print("\n" + plain_table(("step", "state", "seconds"), [*rows, ("total", "", f"{seconds:.1f}")], right=[2]))
    if url:
        print(f"MLflow run: {url}")
    sys.stdout.flush()
    failed = [outcome for outcome in outcomes if outcome.state == "Failed"]
    if code > 128:
        print("pipeline: stopped; the same command goes on where it was", file=sys.stderr)
        return code
    if failed:
        print(f"pipeline: {failed[0].step} failed: {failed[0].reason}", file=sys.stderr)
        return 1
    if code:
        print("pipeline: Prefect ended the flow early; its lines are above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

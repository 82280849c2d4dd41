"""``python -m tinygptv.tracking``: ship what waits, open and close a pipeline's run, record other results."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tinygptv.config.profiles import read_profile
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import UserError, complain
from tinygptv.ground.files import read_json
from tinygptv.ground.folders import find_root, state_folder
from tinygptv.ground.startup import begin
from tinygptv.tracking import facts, pipelines, registered
from tinygptv.tracking.client import Tracking, reachable
from tinygptv.tracking.runs import git_state
from tinygptv.tracking.shipping import ship_all


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        root = find_root(Path(os.environ.get("DVC_ROOT", Path.cwd())))
        if options.command == "ship":
            _ship(root)
        elif options.command == "open-pipeline":
            _open(root, options.id, options.profile)
        elif options.command == "record-verification":
            _record(root, options.file)
        elif options.command == "record-ablations":
            _record_ablations(root, options.file)
        else:
            _close(root, options.id, options.status, options.profile, options.skipped)
    except UserError as error:
        complain("tracking", error)
        return error.exit_code
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m tinygptv.tracking")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ship", help="ship the spools that steps had to leave")
    opening = commands.add_parser(
        "open-pipeline", help="create a pipeline's run; print its URL and the steps to repeat"
    )
    closing = commands.add_parser("close-pipeline", help="ship leftovers, close a pipeline's run and print its URL")
    for command in (opening, closing):
        command.add_argument("--id", required=True, help="the pipeline's id: TINYGPTV_PIPELINE_ID of its steps")
        command.add_argument("--profile", help="configs/<profile>.yaml (default: the one in params.yaml)")
    closing.add_argument("--status", required=True, choices=("FINISHED", "FAILED", "KILLED"))
    closing.add_argument("--skipped", default="", help="steps that DVC did not run, separated by commas")
    recording = commands.add_parser("record-verification", help="record what `tinygptv verify --json` printed")
    grid = commands.add_parser("record-ablations", help="record what `benchmarks/ablations.py` wrote; print its URL")
    for command in (recording, grid):
        command.add_argument("--file", required=True, type=Path, help="the JSON")
    return parser


def _ship(root: Path) -> None:
    with reachable(root) as tracking:
        shipped, running = ship_all(root, tracking)
    print(f"{shipped} shipped, {running} of running steps left alone")


def _open(root: Path, identifier: str, profile: str | None) -> None:
    with reachable(root) as tracking:
        experiment, run = _pipeline(tracking, identifier, profile)
        tracking.mlflow.update_run(run, status="RUNNING")
        for key, value in facts.experiment().items():
            tracking.mlflow.set_tag(run, key, value)
        pipelines.close_left(tracking, experiment, state_folder(root, _name(root, profile)))
        lost = registered.held_for_done(root) and registered.lacks_package(tracking, read_profile(root, profile))
        print(json.dumps({"url": tracking.url(experiment, run), "repeat": [registered.STEP] if lost else []}))


def _close(root: Path, identifier: str, status: str, profile: str | None, skipped: str) -> None:
    with reachable(root) as tracking:
        experiment, run = _pipeline(tracking, identifier, profile)
        ship_all(root, tracking)
        names = [name.strip() for name in skipped.split(",") if name.strip()]
        if names:
            tracking.mlflow.set_tag(run, "skipped", ",".join(names))
        ran = pipelines.describe(tracking, experiment, run, _name(root, profile))
        tracking.mlflow.set_terminated(run, status)
        pipelines.mark_of(state_folder(root, _name(root, profile)), identifier).unlink(missing_ok=True)
        if ran or status != "FINISHED":
            print(tracking.url(experiment, run))
        else:
            tracking.mlflow.delete_run(run)  # nothing ran: the list of runs shows work


def _record(root: Path, file: Path) -> None:
    from tinygptv.tracking.verification import record

    read_json(file)  # before a store is made for what is no result
    with reachable(root) as tracking:
        print(record(tracking, file, os.environ.get("PREFECT_FLOW_RUN_ID")))


def _record_ablations(root: Path, file: Path) -> None:
    from tinygptv.tracking.grid import record

    read_json(file)
    with reachable(root) as tracking:
        print(record(tracking, file))


def _name(root: Path, profile: str | None) -> str:
    return profile if profile is not None else read_profile(root).name


def _pipeline(tracking: Tracking, identifier: str, profile: str | None) -> tuple[str, str]:
    """The experiment and the pipeline's run, created if no step has done so yet."""
    name = _name(tracking.root, profile)
    experiment = tracking.experiment(name)
    sha, dirty = git_state(tracking.root)
    tags = {"profile": name, "git.sha": sha, "git.dirty": str(dirty).lower()}
    flow_run = os.environ.get("PREFECT_FLOW_RUN_ID")
    if flow_run:
        tags["prefect.flow_run_id"] = flow_run
    return experiment, tracking.pipeline(experiment, identifier, tags)


if __name__ == "__main__":
    begin()
    sys.exit(main())

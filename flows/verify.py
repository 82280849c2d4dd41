"""``python -m flows.verify [STEP...] [--profile NAME]``: steps again, compared with the lock, recorded in MLflow.

This is the launcher: it isolates Prefect and starts the flow (``flows/verification.py``) in its own process. Exit
codes: 0 all equal, 1 something differs or a step failed, 2 something the user can mend, 128+n stopped by signal n.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flows.environment import isolated, server_address
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import EXIT_USER_ERROR, UserError
from tinygptv.ground.file_names import DVC_LOCK
from tinygptv.ground.folders import find_root
from tinygptv.ground.processes import GRACE_SECONDS, run_guarded
from tinygptv.ground.worktree import folder_of
from tinygptv.ground.yaml_files import active_profile, profile_file
from tinygptv.provenance.recorded import read_dvc_lock
from tinygptv.provenance.verify import select


def main(arguments: list[str] | None = None) -> int:
    """Run the flow once and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        root = find_root(Path.cwd())
        lock = root / DVC_LOCK
        if options.profile is not None and profile_file(root, options.profile).stem != active_profile(root):
            lock = folder_of(root, options.profile) / DVC_LOCK
        select(
            read_dvc_lock(lock), options.steps, lock
        )  # now: below, it would take Prefect's start to say what is wrong
    except UserError as error:
        print(f"verify: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    profile = ["--profile", options.profile] if options.profile is not None else []
    flow = [sys.executable, "-m", "flows.verification", *profile, *options.steps]
    # the flow, the command and the step below it each take the time to end in order
    return run_guarded(flow, env=isolated(os.environ, root, options.server), cwd=root, grace=4 * GRACE_SECONDS)


def _parser() -> Parser:
    parser = Parser(prog="python -m flows.verify", description="Run steps again and compare them.")
    parser.add_argument("steps", metavar="STEP", nargs="*", help="steps (default: all that have outputs)")
    parser.add_argument("--profile", metavar="NAME", help="the lock of that profile's worktree, not the checkout's")
    parser.add_argument(
        "--server", metavar="URL", type=server_address, help="a Prefect API, such as http://127.0.0.1:4200/api"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

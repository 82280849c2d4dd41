"""``python -m tinygptv.steps STEP [--profile NAME] [--allow-changed KEY]``: one step, called by DVC.

``torchrun --nproc-per-node N -m tinygptv.steps STAGE`` shares a stage among processes, and so does
``TINYGPTV_PROCESSES=N`` in the environment, where DVC or a flow calls it.

Exit codes: 0 done, 1 a bug (with a traceback), 2 something the user can mend (one line), 75 a fault that may pass by
itself (one line), 128+n stopped by signal n.
"""

from __future__ import annotations

import sys

from safetensors import SafetensorError

from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import EXIT_PASSING, EXIT_USER_ERROR, UserError, brief, complain, from_write_error
from tinygptv.ground.launch import launch, processes_to_launch
from tinygptv.ground.names import STAGES, STEPS
from tinygptv.ground.processes import Interrupted
from tinygptv.ground.startup import begin
from tinygptv.ground.workers import ALONE, Workers
from tinygptv.steps.harness import execute

WORKER_KILLED = "is killed by signal: Killed"
"""How torch tells, wherever the step is, that the system killed a worker of its loader."""


def main() -> int:
    """Run the step named on the command line."""
    begin()
    parser = Parser(prog="python -m tinygptv.steps", description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--profile", help="configs/<profile>.yaml (default: the one in params.yaml)")
    parser.add_argument(
        "--allow-changed",
        metavar="KEY",
        action="append",
        default=[],
        help="a stage goes on from a resume point that differs in this key; its manifest will say so",
    )
    arguments = parser.parse_args()
    if arguments.allow_changed and arguments.step not in STAGES:
        parser.error(f"--allow-changed: {arguments.step} has no resume points")
    workers = ALONE
    try:
        if arguments.step in STAGES and (processes := processes_to_launch()):
            return launch(sys.argv[1:], processes)
        workers = Workers.join()
        execute(arguments.step, arguments.profile, tuple(arguments.allow_changed), workers)
    except (Exception, Interrupted) as error:
        code, line = ending(error)
        first = workers.first_to_end(code, line)
        if first is not None:
            return first  # another process of the group has said why
        if line is None:
            raise
        complain(arguments.step, line)
        return code
    workers.leave()
    return 0


def ending(error: BaseException) -> tuple[int, str | None]:
    """The exit code for what ended a step, and what to say of it; None for a bug, which shows its traceback."""
    if isinstance(error, UserError):
        return error.exit_code, str(error)
    if isinstance(error, OSError | SafetensorError):
        told = from_write_error(error, "reading or writing files")
        return told.exit_code, str(told)
    if isinstance(error, RuntimeError) and WORKER_KILLED in str(error):
        return EXIT_PASSING, f"{brief(error)}; memory may be short, run the command again"
    if isinstance(error, ImportError) and not (error.name or "tinygptv").startswith("tinygptv"):
        return EXIT_USER_ERROR, (
            f"the package {error.name} is missing or does not load ({error}); run `make install`; "
            "`tinygptv doctor` shows all versions"
        )
    if isinstance(error, Interrupted):
        return error.exit_code, f"stopped by {error}; run the command again to go on"
    return 1, None


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tinygptv.steps STEP [--profile NAME] [--allow-changed KEY]``: one step, called by DVC.

Exit codes: 0 done, 1 a bug (with a traceback), 2 something the user can mend (one line), 75 a fault that may pass by
itself (one line), 128+n stopped by signal n.
"""

from __future__ import annotations

import sys

from safetensors import SafetensorError

from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import EXIT_PASSING, EXIT_USER_ERROR, UserError, brief, complain, from_write_error
from tinygptv.ground.names import STAGES, STEPS
from tinygptv.ground.processes import Interrupted
from tinygptv.ground.startup import begin
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
    try:
        execute(arguments.step, arguments.profile, tuple(arguments.allow_changed))
    except UserError as error:
        complain(arguments.step, error)
        return error.exit_code
    except (OSError, SafetensorError) as problem:
        told = from_write_error(problem, "reading or writing files")
        complain(arguments.step, told)
        return told.exit_code
    except RuntimeError as error:
        if WORKER_KILLED not in str(error):
            raise
        complain(arguments.step, f"{brief(error)}; memory may be short, run the command again")
        return EXIT_PASSING
    except ImportError as error:
        if (error.name or "tinygptv").startswith("tinygptv"):
            raise
        print(
            f"{arguments.step}: the package {error.name} is missing or does not load ({error}); run `make install`; "
            "`tinygptv doctor` shows all versions",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR
    except Interrupted as stop:
        print(f"{arguments.step}: stopped by {stop}; run the command again to go on", file=sys.stderr)
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tinygptv.steps STEP [--profile NAME] [--allow-changed KEY]``: one step, called by DVC.

Exit codes: 0 done, 1 a bug (with a traceback), 2 something the user can mend (one line), 128+n stopped by signal n.
"""

from __future__ import annotations

import argparse
import sys

from safetensors import SafetensorError

from tinygptv.config import STAGES, STEPS
from tinygptv.errors import EXIT_USER_ERROR, UserError, from_write_error
from tinygptv.startup import begin
from tinygptv.steps.harness import execute
from tinygptv.steps.signals import Interrupted


def main() -> int:
    """Run the step named on the command line."""
    begin()
    parser = argparse.ArgumentParser(prog="python -m tinygptv.steps", description=__doc__.splitlines()[0])
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
        print(f"{arguments.step}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except (OSError, SafetensorError) as error:
        print(f"{arguments.step}: {from_write_error(error, 'reading or writing files')}", file=sys.stderr)
        return EXIT_USER_ERROR
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

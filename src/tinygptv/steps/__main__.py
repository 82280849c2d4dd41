"""``python -m tinygptv.steps STEP [--profile NAME]``: one step, called by DVC.

Exit codes: 0 done, 1 a bug (with a traceback), 2 something the user can mend (one line), 128+n stopped by signal n.
"""

from __future__ import annotations

import argparse
import sys

from safetensors import SafetensorError

from tinygptv.config import STEPS
from tinygptv.errors import EXIT_USER_ERROR, UserError, from_write_error
from tinygptv.steps.harness import execute
from tinygptv.steps.signals import Interrupted


def main() -> int:
    """Run the step named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tinygptv.steps", description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--profile", help="configs/<profile>.yaml (default: the one in params.yaml)")
    arguments = parser.parse_args()
    try:
        execute(arguments.step, arguments.profile)
    except UserError as error:
        print(f"{arguments.step}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except (OSError, SafetensorError) as error:
        print(f"{arguments.step}: {from_write_error(error, 'reading or writing files')}", file=sys.stderr)
        return EXIT_USER_ERROR
    except Interrupted as stop:
        print(f"{arguments.step}: stopped by {stop}; run the command again to go on", file=sys.stderr)
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.drills.clean_run ROOT``: every step that has outputs, one process each, in a small checkout.

The environment is the caller's: that is what the drill varies. The digests of all that came out go to stdout as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from tests import checkouts
from tests.drills import zygote
from tinygptv.ground.files import sha256_file
from tinygptv.ground.names import STEPS

RUN = STEPS[:-1]
"""Without ``register``, which has no outputs."""


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--umask", type=lambda text: int(text, 8), default=0o022)
    arguments = parser.parse_args()
    os.umask(arguments.umask)
    made = checkouts.Checkout(checkouts.new_root(arguments.root.resolve()))
    zygote.import_all()
    for step in RUN:
        ended = zygote.run_step(made.root, step, arguments.root / f"{step}.log")
        if ended.code:
            print(f"{step} ended with {ended.code}: {ended.log}", file=sys.stderr)
            return 1
    digests = {name: sha256_file(made.root / name) for name in sorted(made.outputs())}
    seen = {"host": platform.node(), "zone": time.strftime("%Z"), "hash": hash("x"), "umask": arguments.umask}
    print(json.dumps({"digests": digests, "seen": seen | {"locale": os.environ.get("LC_ALL", "")}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

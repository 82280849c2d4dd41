"""``python -m tinygptv``: the command ``tinygptv``."""

import sys

from tinygptv.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m tinygptv.model.upstream lock``: pin the published backbones of a profile, once, with network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tinygptv.config import Published
from tinygptv.config.profiles import read_profile
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import ConfigError, UserError, complain
from tinygptv.ground.folders import STATE, find_root
from tinygptv.model.upstream.pins import PINS
from tinygptv.model.upstream.resolve import fill_in


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = Parser(prog="python -m tinygptv.model.upstream")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "lock", help=f"ask the hub for revision, sizes and digests of what a profile uses; write {PINS}"
    )
    command.add_argument("--profile", default="paper", help="configs/<profile>.yaml (default: paper)")
    options = parser.parse_args(arguments)
    try:
        root = find_root(Path(os.environ.get("DVC_ROOT", Path.cwd())))
        settings = read_profile(root, options.profile).config.backbones
        if not isinstance(settings, Published):
            raise ConfigError(f"the backbones of profile {options.profile} are not published ones: nothing to pin")
        for name, entry in fill_in(root / PINS, settings, root / STATE / "upstream").items():
            size = sum(pin.size or 0 for pin in entry.files.values())
            print(f"{name} {entry.version}: {len(entry.files)} files, {size / 1e9:.2f} GB")
    except UserError as error:
        complain("lock", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

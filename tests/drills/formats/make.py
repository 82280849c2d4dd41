"""``python -m tests.drills.formats.make FOLDER``: the files of a small pipeline as this version writes them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests import checkouts
from tests.drills import zygote
from tests.drills.formats.look import look
from tinygptv.ground.names import STEPS

TINY = {
    "hidden_size: 32": "hidden_size: 16",
    "intermediate_size: 64": "intermediate_size: 32",
    "projection_size: 64": "projection_size: 16",
    "vocab_size: 1024": "vocab_size: 320",
    "partial_rotary_factor: 0.4": "partial_rotary_factor: 0.5",
    "steps_per_epoch: 6": "steps_per_epoch: 2",
}
KEPT = ("backbones", "stage2")


def main() -> int:
    """Run the steps and keep what others open: a stage with its backbones, and the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="such as tests/drills/formats/v2; must not exist")
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        made = checkouts.Checkout(checkouts.new_root(Path(scratch).resolve() / "checkout"))
        for old, new in TINY.items():
            made.edit(old, new)
        zygote.import_all()
        for step in STEPS[:-1]:
            ended = zygote.run_step(made.root, step, Path(scratch) / "log")
            if ended.code:
                print(f"{step} ended with {ended.code}: {ended.log}", file=sys.stderr)
                return 1
        for step in KEPT:
            shutil.copytree(made.data / step, folder / step)
        shutil.copytree(made.data / "quantize" / "model", folder / "package")
    (folder / "expected.json").write_text(json.dumps(look(folder), indent=1, sort_keys=True) + "\n")
    print(f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()):,} bytes in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

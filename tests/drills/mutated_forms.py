"""Files of a form with faults in them, and what reading the set comes to: records, rejections, or one line.

    python -m tests.drills.mutated_forms FORM TRIALS

As a process of its own it sees a library that dies of a file, and may only have so much memory.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa

from tests.drills.mutations import mutated, with_odd
from tests.drills.small_sets import PACKED, write
from tinygptv.config import DataSet
from tinygptv.data.recognise import recognise
from tinygptv.data.source import raw_files
from tinygptv.data.tables import is_picture
from tinygptv.ground.errors import DataError
from tinygptv.own_data.reading import read_set

MEMORY = 6 << 30
"""Bytes of addresses: a size that a damaged file says must not be believed."""
READ, LEFT_OUT, REFUSED = "records alone", "some left out", "one line"


def outcomes(form: str, root: Path, trials: int) -> Counter[str]:
    """How often reading a set with a fault in one of its files came to what.

    Args:
        form: the form.
        root: an empty folder, or one with the official files.
        trials: how many faults, always the same ones.

    Raises:
        AssertionError: reading failed in another way, or a message is more than one line.
    """
    written = write(form, root)
    settings = DataSet(**{"format": form, "licence": "MIT", **written})
    good = read_set("set", settings, root)
    assert good.records and good.rejections.count == (form == "img2dataset"), good.rejections.reasons
    files = [path for _, path in raw_files(settings, root) if not is_picture(path.name)]
    content = {path: path.read_bytes() for path in files}
    found: Counter[str] = Counter({READ: 0, LEFT_OUT: 0, REFUSED: 0})
    for trial in range(trials):
        chance = random.Random(f"{form} {trial}")
        path = chance.choice(files)
        if form not in PACKED or chance.random() < 0.5 or not _odd(form, root, chance):
            path.write_bytes(mutated(chance, content[path]))
        try:
            found[_outcome(settings, root, path)] += 1
        except Exception as error:
            raise AssertionError(f"trial {trial} of {form}: {path.name}") from error
        for one, before in content.items():
            one.write_bytes(before)
    return found


def _odd(form: str, root: Path, chance: random.Random) -> bool:
    """Write the set with an odd value in it; False where what was drawn cannot be written."""
    try:
        PACKED[form](root, lambda value: with_odd(chance, value))
    except (pa.ArrowException, TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return False
    return True


def _outcome(settings: DataSet, root: Path, changed: Path) -> str:
    """What becomes of the set; and nothing that looks at it fails."""
    for place in (changed.parent, changed):
        recognise(place)
    try:
        found = read_set("set", settings, root)
    except DataError as error:
        assert str(error).isprintable(), str(error)
        return REFUSED
    for one in found.rejections.first:
        assert one["id"].isprintable(), one
        assert "\n" not in one["reason"], one
    return LEFT_OUT if found.rejections.count else READ


if __name__ == "__main__":
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(outcomes(sys.argv[1], Path(folder), int(sys.argv[2]))))

"""What a kill may leave behind, and what must be there once the stage is done."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

from tests.checkouts import Checkout
from tinygptv.ground.files import sha256_file
from tinygptv.tracking import shelf, spool
from tinygptv.tracking.machine import PREFIX

LEFT_OVER = re.compile(r"^\..*\.(tmp|former|new)$|\.tmp$")


def clear(checkout: Checkout, stage: str) -> None:
    """As if the stage had never run."""
    shutil.rmtree(checkout.data / stage, ignore_errors=True)
    shutil.rmtree(checkout.state, ignore_errors=True)
    shutil.rmtree(checkout.root / "reports", ignore_errors=True)


def results(checkout: Checkout, stage: str) -> dict[str, str]:
    """Digests of the files that the stage has made."""
    folder = checkout.data / stage
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def published(checkout: Checkout, stage: str) -> bool:
    """Whether the stage's results are in place."""
    return (checkout.data / stage).is_dir()


def newest_point(checkout: Checkout, stage: str) -> int:
    """The step of the newest resume point that is whole, judged without the code that reads points; 0 for none."""
    return max((step for path in points(checkout, stage) if (step := whole_point(path))), default=0)


def points(checkout: Checkout, stage: str) -> list[Path]:
    """All resume points in place."""
    return sorted((checkout.state / stage).glob("*/step-*"))


def whole_point(path: Path) -> int:
    """The step of a resume point if its two files are what the digests in it say, else 0."""
    try:
        content = json.loads((path / "state.json").read_bytes())
        inner = json.dumps(content["state"], sort_keys=True, separators=(",", ":")).encode()
        if hashlib.sha256(inner).hexdigest() != content["sha256"]:
            return 0
        if sha256_file(path / "tensors.safetensors") != content["state"]["sha256"]:
            return 0
    except (OSError, ValueError, KeyError):
        return 0
    return int(content["state"]["step"])


def half_done(checkout: Checkout, stage: str, expected: dict[str, str], before: int, newest: int) -> list[str]:
    """Right after a kill: results are absent or whole, and a point once written is there as long as they are not.

    Args:
        checkout: where the stage was killed.
        stage: its name.
        expected: digests of the uninterrupted run's results.
        before: step of the newest point before this attempt.
        newest: step of the newest whole point now.
    """
    if published(checkout, stage):
        found = results(checkout, stage)
        return [] if found == expected else [f"half of a result was put in place: {differing(found, expected)}"]
    if newest < before:
        return [f"the newest whole point is of step {newest}, though there was one of step {before}"]
    return []


def final(
    checkout: Checkout, stage: str, expected: dict[str, str], metrics_expected: dict[tuple[str, int], float]
) -> list[str]:
    """Once the stage is done: the same bytes, nothing left over, and one run with every point of the curve once."""
    wrong = []
    found = results(checkout, stage)
    if found != expected:
        wrong.append(f"the result differs from the uninterrupted run's: {differing(found, expected)}")
    wrong += [f"left over: {path.relative_to(checkout.root)}" for path in left_over(checkout, stage)]
    runs = spools(checkout, stage)
    if len(runs) != 1:
        wrong.append(f"{len(runs)} runs were recorded instead of one: {[path.name for path in runs]}")
    elif metrics(checkout, stage) != metrics_expected:
        wrong.append(f"the recorded metrics differ: {metrics(checkout, stage)}, not {metrics_expected}")
    elif spool.last_status(spool.read_events(runs[0])[0]) != "FINISHED":
        wrong.append("the recorded run is not FINISHED")
    return wrong


def left_over(checkout: Checkout, stage: str) -> list[Path]:
    """Files and folders that only an unfinished stage may have."""
    found = [path for path in (checkout.state / "staging" / stage, checkout.state / stage) if path.exists()]
    folders = [checkout.data, checkout.root / "reports", checkout.state]
    return found + [path for folder in folders for path in folder.rglob("*") if LEFT_OVER.search(path.name)]


def spools(checkout: Checkout, stage: str) -> list[Path]:
    """Records of the stage's runs, shipped or not."""
    folder = checkout.state / "spool"
    done = shelf.done_spool(folder, stage)
    return [path for path in shelf.leftovers(folder) if path.name.startswith(f"{stage}-")] + [done] * done.exists()


def metrics(checkout: Checkout, stage: str) -> dict[tuple[str, int], float]:
    """The recorded points of the curves; seconds, and what is counted by them, differ from run to run.

    Raises:
        ValueError: one is recorded twice.
    """
    found: dict[tuple[str, int], float] = {}
    for path in spools(checkout, stage):
        for event in spool.read_events(path)[0]:
            if event["kind"] != "metric" or event["name"].startswith(("seconds", PREFIX)):
                continue
            key = event["name"], event["step"]
            if key in found:
                raise ValueError(f"{key} is recorded twice in {path}")
            found[key] = event["value"]
    return found


def differing(found: dict[str, str], expected: dict[str, str]) -> str:
    """The names of files that differ."""
    return ", ".join(name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name))

"""Outputs that ``dvc.lock`` records and that are gone: from DVC's cache, or from the checkout as well.

DVC runs a step again whose output its cache lacks, even where the checkout still has it; ``dvc push`` leaves it out.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tinygptv.doctor.findings import Finding, Level
from tinygptv.doctor.objects import Output, ask_dvc, for_profile, is_sound, objects_of, outputs_of, store
from tinygptv.ground.graph import entries_of

NAME = "lost outputs"


def outputs(root: Path) -> Iterator[Finding]:
    """One finding for each output that is gone, with the command that brings it back; one where none is."""
    recorded = outputs_of(root)
    if not recorded:
        return
    uncached = _uncached(root)
    cached = [output for output in recorded if not uncached.fullmatch(_name(root, output))]
    gone = [output for output in cached if not all(path.is_file() for path in objects_of(store(root), output.md5))]
    absent = [output for output in recorded if output not in cached and not output.path.exists()]
    if not gone and not absent:
        yield Finding(NAME, "ok", f"{len(recorded)} of dvc.lock, none is gone")
    again = _again(root) if gone else ""
    # A clone in which nothing has run yet has lost nothing.
    fresh = len(gone) == len(cached) and not any(output.path.exists() for output in cached) and len(cached) > 1
    for output in gone:
        yield _gone(root, output, again, "warning" if fresh else "problem")
    for output in absent:
        name = _name(root, output)
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", name], cwd=root, capture_output=True, check=False
        )
        fix = f"dvc repro {output.stage}" if tracked.returncode else f"git checkout {shlex.quote(name)}"
        yield Finding(NAME, "problem", f"{name} is gone", fix)


def _gone(root: Path, output: Output, again: str, level: Level) -> Finding:
    """An output that the cache lacks, or lacks a part of."""
    name, again = _name(root, output), again.format(stage=output.stage)
    if not output.path.exists():
        found, fix = f"{name} is gone from DVC's cache and from the checkout", again
    elif is_sound(output):
        level = "warning"
        found, fix = f"{name} is gone from DVC's cache, the checkout still has it", f"dvc commit {output.stage}"
    else:
        found = f"{name} is gone from DVC's cache, and the checkout has another"
        removed = f"rm -rf {shlex.quote(str(output.path))} && {again}"
        fix = f"dvc repro {output.stage} if you changed it; else {removed}"
    return Finding(NAME, level, found, for_profile(root, output, fix))


def _again(root: Path) -> str:
    """The command that brings an output back where nothing here has it."""
    remote = ask_dvc(root, "remote", "list")
    return "dvc pull {stage}, or dvc repro {stage} where the remote lacks it" if remote else "dvc repro {stage}"


def _name(root: Path, output: Output) -> str:
    return output.path.relative_to(root).as_posix()


def _uncached(root: Path) -> re.Pattern[str]:
    """Paths of outputs that git keeps instead of DVC (``cache: false``), of any profile."""
    paths = [
        path
        for step in entries_of(root).values()
        for kind in ("outs", "metrics", "plots")
        for entry in step.get(kind, ())
        if isinstance(entry, dict)
        for path, options in entry.items()
        if not options.get("cache", True)
    ]
    return re.compile("|".join(re.escape(path).replace(re.escape("${profile}"), "[^/]+") for path in paths) or "(?!)")

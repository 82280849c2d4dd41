"""Experiments: the pipeline with other values, in a worktree of its own, kept by DVC under a name.

``dvc exp run -S`` itself would write the profile of the checkout anew, and ``--temp`` loses its resume points and its
records with the folder.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.graph import RunPlan
from tinygptv.config.overrides import override
from tinygptv.ground import worktree
from tinygptv.ground.errors import UserError
from tinygptv.ground.files import write_text

AUTHOR = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "tinygptv"), ("EMAIL", "tinygptv@localhost"))
}
"""Who makes the commit behind an experiment: DVC refuses, after all the work, where git knows no user."""


def begin(root: Path, profile: str, settings: Sequence[str], name: str | None) -> tuple[Path, str]:
    """Set the values in a worktree.

    Args:
        root: the main checkout.
        profile: its name.
        settings: ``KEY=VALUE`` each.
        name: of the experiment; None for one that is made up.

    Returns:
        The worktree and the name.

    Raises:
        UserError: an unknown key, a wrong value, a name that git cannot take or that is taken.
    """
    chosen = name if name is not None else f"exp-{uuid.uuid4().hex[:8]}"
    _check_name(root, chosen)
    folder = worktree.prepare_experiment(root, profile)
    for path, text in override(folder, profile, settings).items():
        write_text(path, text)
    return folder, chosen


def environment(plan: RunPlan) -> dict[str, str]:
    """What DVC tells the steps of an experiment: they record it, and ``register`` moves no alias."""
    return {"DVC_EXP_NAME": plan.experiment, "DVC_EXP_BASELINE_REV": worktree.last_commit(plan.root)}


def keep(plan: RunPlan, env: Mapping[str, str]) -> None:
    """Let DVC keep what the steps of the plan made: profile, ``dvc.lock``, reports.

    Raises:
        UserError: DVC refuses; the message has its last line.
    """
    reports = f"{worktree.REPORTS}/{plan.profile}"
    made = ["--include-untracked", reports] if (plan.root / reports).is_dir() else []
    names = [step.name for step in plan.steps]
    command = [sys.executable, "-m", "dvc", "exp", "save", "--name", plan.experiment, *made, *names]
    done = subprocess.run(command, cwd=plan.root, env={**env, **AUTHOR}, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        reason = next((line for line in said if line.startswith("ERROR: ")), said[0])  # warnings may come before
        raise UserError(f"experiment {plan.experiment} was not kept: {reason}; the same command tries again")


def _check_name(root: Path, name: str) -> None:
    """Refuse before hours of work what DVC would refuse after them."""
    valid = subprocess.run(
        ["git", "check-ref-format", "--allow-onelevel", name], cwd=root, capture_output=True, check=False
    )
    if valid.returncode or "/" in name or name.startswith("-"):
        raise UserError(f"--name {name}: git takes no such name; letters, digits and dashes are safe")
    commit = worktree.last_commit(root)
    ref = f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"
    taken = subprocess.run(["git", "show-ref", "--quiet", ref], cwd=root, capture_output=True, check=False)
    if taken.returncode == 0:
        raise UserError(f"--name {name}: there is such an experiment; choose another, or `dvc exp remove {name}`")

"""The pipeline's MLflow run, opened beside the first steps by a process of its own: nothing waits for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.graph import RunPlan
from tinygptv.ground.marks import held
from tinygptv.tracking.pipelines import mark_of

LONGEST_WAIT = 60.0


class ParentRun:
    """What the process that opens the run has to say."""

    def __init__(self, opening: subprocess.Popen[str] | None) -> None:
        self._opening = opening
        self._said: dict[str, Any] | None = None

    def repeats(self, step: str) -> bool:
        """Whether DVC holds the step for done though MLflow lacks its result; False where MLflow does not answer."""
        return step in self._listen().get("repeat", [])

    @property
    def url(self) -> str:
        """Where the run is looked at; empty where there is none, or MLflow does not answer."""
        return str(self._listen().get("url", ""))

    def _listen(self) -> dict[str, Any]:
        if self._said is None:
            self._said = {}
            if self._opening is not None:
                try:
                    said, _ = self._opening.communicate(timeout=LONGEST_WAIT)
                except subprocess.TimeoutExpired:
                    return self._said  # closing the run reports what is wrong
                if self._opening.returncode == 0:
                    self._said = json.loads(said)
        return self._said


@contextmanager
def parent_run(plan: RunPlan) -> Iterator[ParentRun]:
    """Open the run of the plan's pipeline, if it is to have one."""
    if not plan.tracked:
        yield ParentRun(None)
        return
    with held(mark_of(plan.state_folder, plan.pipeline)):
        opening = subprocess.Popen(
            plan.tracking_command("open-pipeline"),
            cwd=plan.root,
            env=plan.tracking_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # closing the run reports what is wrong
            text=True,
        )
        parent = ParentRun(opening)
        try:
            yield parent
        finally:
            parent.repeats("")  # it has ended when the launcher closes the run

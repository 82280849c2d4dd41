"""The choices of a run's form are those of the project that the flow works in."""

from __future__ import annotations

import json
import subprocess
import sys

from tinygptv.ground.graph import entries_of


def test_the_steps_of_the_form_are_those_of_the_project_s_graph(project):
    code = (
        "import json; from pydantic import TypeAdapter; from flows.naming import StepChoice, StepsChoice\n"
        "one, many = TypeAdapter(StepChoice).json_schema(), TypeAdapter(StepsChoice).json_schema()\n"
        "print(json.dumps([one['enum'], many['items']['enum']]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    steps = list(entries_of(project))
    assert "zebra" in steps
    assert json.loads(done.stdout.splitlines()[-1]) == [[None, *steps], steps]

"""What measures the machine, as the first in a step's process that imports MLflow."""

import os
import subprocess
import sys

OTHERS = ("MLFLOW_", "DO_NOT_TRACK", "PYTEST_", "CI")
"""What would quieten it, too."""
FIRST = """
import logging, os
from tinygptv.tracking.machine import Machine
Machine().sample()
import mlflow.pyfunc
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
logging.getLogger("mlflow.pyfunc").info("Validating input example against model signature")
"""


def test_mlflow_is_imported_quiet_and_without_telemetry():
    """Its lines would stand among those of the step; it reads these settings when it is imported, and not again."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    done = subprocess.run([sys.executable, "-c", FIRST], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

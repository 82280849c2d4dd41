"""The package's door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tinygptv
from tinygptv.ground.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def test_the_version_is_that_of_the_project():
    import tomllib

    assert tinygptv.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize(
    "module", ["tinygptv", "tinygptv.config.profiles", "tinygptv.steps.__main__", "tinygptv.steps.train"]
)
def test_light_modules_import_nothing_heavy(module):
    code = (
        f"import sys, {module}; print(*({{'torch', 'transformers', 'mlflow', 'prefect', 'peft'}} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert done.stdout == "\n"


def test_a_package_is_registered_without_the_libraries_that_run_it():
    """The model's columns and its example; that process may have to send gigabytes."""
    code = (
        "import sys; from tinygptv.tracking import registry, saved; saved._signature(), saved._example(); "
        "print(*({'torch', 'transformers', 'peft'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert done.stdout == "\n"


def test_load_names_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path / "nix")):
        tinygptv.load(str(tmp_path / "nix"))

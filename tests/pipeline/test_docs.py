"""The documentation's commands that need what a pipeline made, on the smoke profile's results in a clone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import blocks, commands
from tests.pipeline.test_promotion import NAME, clone  # noqa: F401 (a fixture)
from tests.pipeline.test_smoke import Clone
from tinygptv.data.shards import read_samples

pytestmark = pytest.mark.pipeline
ASKED = r"(tinygptv (ask picture|verify stage|replay|diff stage3|lineage models)|dvc repro -f|python -m \S+ --force)"
FOUND = [
    (block.name, words)
    for page in ("README.md", "docs/operations.md")
    for block in blocks(page)
    for words in commands(block)
    if re.match(ASKED, " ".join(words))
]


@pytest.fixture(scope="module")
def ready(clone: Clone) -> Clone:  # noqa: F811
    """With the pictures that the commands name."""
    (shard,) = (clone.root / "data" / "smoke" / "shards" / "easy_vqa").glob("test-000000.tar")
    for name, sample in zip(("picture.png", "a.png", "b.png"), read_samples([shard]), strict=False):
        (clone.root / name).write_bytes(sample.image_bytes)
    clone.env["PATH"] = f"{Path(sys.executable).parent}:{clone.env['PATH']}"
    return clone


def here(clone: Clone, text: str) -> str:  # noqa: F811
    """A word as it is right for the smoke profile."""
    if text == "RUN_ID":
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{clone.root / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("tinygptv/smoke").experiment_id
        return str(client.search_runs([experiment], "tags.step = 'stage3'")[0].info.run_id)
    return text.replace("models:/tinygptv@", f"models:/{NAME}@").replace("data/tiny/", "data/smoke/")


@pytest.mark.parametrize(("place", "words"), FOUND, ids=[" ".join(words) for _, words in FOUND])
def test_a_command_does_what_the_page_says(ready: Clone, place: str, words: list[str]) -> None:
    line = [here(ready, word) for word in words]
    done = subprocess.run(line, cwd=ready.root, env=ready.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{place}: {line}\n{done.stdout}{done.stderr}"


def test_the_program_of_the_readme(ready: Clone) -> None:
    (program,) = (block.text for block in blocks("README.md") if block.language == "python")
    line = [sys.executable, "-c", here(ready, program)]
    done = subprocess.run(line, cwd=ready.root, env=ready.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_notebook(ready: Clone) -> None:
    program = here(ready, (Path(__file__).parents[2] / "notebooks" / "tour.py").read_text())
    line, env = [sys.executable, "-c", program], ready.env | {"MPLBACKEND": "agg"}
    done = subprocess.run(line, cwd=ready.root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the same records as in trace.jsonl" in done.stdout and "equal answers: " in done.stdout

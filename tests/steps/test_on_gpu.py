"""The pipeline on a GPU, in its small checkout: every step that computes does so there."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.checkouts import Checkout, raw_source, run_step
from tinygptv.data.formats import easy_vqa
from tinygptv.ground.files import sha256_file
from tinygptv.ground.names import STAGES
from tinygptv.model.inference import VisionLanguageModel

pytestmark = pytest.mark.gpu
DEVICE = "cuda"


@pytest.fixture(scope="module")
def there(with_shards, tmp_path_factory, patches) -> Checkout:
    """Everything up to the package has run on the device. Read only."""
    made = Checkout(shutil.copytree(with_shards.root, tmp_path_factory.mktemp("there") / "checkout"))
    made.edit("device: cpu", f"device: {DEVICE}")
    for step in ("backbones", "features", *STAGES, "evaluate", "quantize"):
        assert run_step(made.root, step, patches) == 0, step
    return made


def test_every_stage_learns(there):
    for stage in STAGES:
        points = [json.loads(line) for line in (there.data / stage / "trace.jsonl").read_text().splitlines()]
        assert len(points) == there.config.stage(stage).steps
        assert min(point["grad_norm"] for point in points) > 0
    report = json.loads((there.root / "reports" / "smoke" / "evaluate.json").read_text())
    assert all(0 <= benchmark["value"] <= 1 for benchmark in report["benchmarks"].values())


def test_a_stage_that_is_made_again_has_the_same_bytes(there, run, tmp_path):
    again = Checkout(shutil.copytree(there.root, tmp_path / "checkout"))
    shutil.rmtree(again.data / "stage4")
    shutil.rmtree(again.state)
    assert run(again, "stage4") == 0
    name = "stage4/trained.safetensors"
    assert sha256_file(again.data / name) == sha256_file(there.data / name)


def test_the_package_answers_there_as_on_the_cpu(there):
    package, items = there.data / "quantize" / "model", list(easy_vqa.read(raw_source(there.root)))[:40]
    asked = [item.image.path for item in items], [item.record.turns[0].question or "what is this?" for item in items]
    here, on_device = (VisionLanguageModel.from_folder(package, device).answer(*asked) for device in ("cpu", DEVICE))
    # The reader of a GPU leaves activations as they are, and a model that was hardly trained is sure of little.
    assert sum(a == b for a, b in zip(here, on_device, strict=True)) >= len(items) // 2

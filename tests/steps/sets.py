"""A checkout with two data sets in shards and an image encoder: what the step ``features`` needs, and no more."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.checkouts import ROOT, Checkout
from tests.data_sets import Sample, sample, text, write_set
from tinygptv.data.views import write_views
from tinygptv.ground.file_names import IMAGE_ENCODER
from tinygptv.model.configuration import image_config
from tinygptv.model.vision import TinyGPTVImageEncoder
from tinygptv.model.weights import save_weights

CATS, DOGS = range(100), range(80, 120)
"""Images of the two sets; twenty are in both."""
ROWS = 2 * 100 + 40
"""Cats are seen at 32 and at 64 pixels, dogs in stage 4 alone."""
ENCODED = ROWS - 20


@dataclass(frozen=True)
class Sets(Checkout):
    """A checkout with an image encoder and two small data sets."""

    def write(self, dataset: str, samples: Iterable[Sample]) -> None:
        """Write a set anew, and the views of the shards."""
        write_set(self.data / "shards", dataset, samples)
        write_views(self.data / "shards", self.config)

    def features(self) -> dict[str, bytes]:
        folder = self.data / "features"
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def afresh(self, folder: Path) -> Sets:
        """The same without what ``features`` made."""
        without = shutil.ignore_patterns("features", ".state")
        return Sets(shutil.copytree(self.root, folder, ignore=without))


def cats(numbers: Iterable[int] = CATS) -> list[Sample]:
    return [sample(number, "cats") for number in numbers]


def make_sets(root: Path) -> Sets:
    """Write the two sets in a new folder; batches of eight, one thread."""
    (root / "configs").mkdir(parents=True)
    content = (ROOT / "configs" / "smoke.yaml").read_text()
    one_set = "{format: easy_vqa, licence: CC0-1.0}"
    content = re.sub(r"(?s)\ndata:\n.*?\n\n", f"\ndata:\n  cats: {one_set}\n  dogs: {one_set}\n\n", content)
    content = content.replace("data: [easy_vqa]", "data: [cats]").replace(
        "benchmarks: [easy_vqa]", "benchmarks: [cats]"
    )
    content = content.replace("threads: 2", "threads: 1")
    content = content.replace("{easy_vqa: 0.0}", "{cats: 0.0}").replace("{easy_vqa: 1.0}", "{cats: 1.0}")
    content = re.sub(r"mixture: \{easy_vqa/.*", "mixture: {cats: 1.0}", content)
    content = re.sub(r"(?m)  mixture:\n(    easy_vqa/.*\n)+", "  mixture: {cats: 1.0, dogs: 1.0}\n", content)
    (root / "configs" / "smoke.yaml").write_text(content.replace("batch_size: 100", "batch_size: 8"))
    (root / "params.yaml").write_text("profile: smoke\nseed: 7\n")
    shutil.copy(ROOT / "dvc.yaml", root)
    checkout = Sets(root)
    (checkout.data / "backbones").mkdir(parents=True)
    torch.manual_seed(0)
    encoder = TinyGPTVImageEncoder(image_config(checkout.config.model))
    save_weights(checkout.data / "backbones" / IMAGE_ENCODER, encoder.state_dict())
    checkout.write("cats", [*cats(), *(text(number, "cats") for number in range(5))])
    checkout.write("dogs", [sample(number, "dogs") for number in DOGS])
    return checkout

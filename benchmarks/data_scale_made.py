"""What ``data_scale.py`` measures on: a data set of many images made from few, a checkout that trains on it, an index.

Two images of the set differ in a comment of some bytes: every one is decoded, hashed and encoded for itself.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROFILE = "scale"
DATASET = "made"
WIDTH, HEIGHT = 640, 480
BASES = 8
IN_A_FOLDER = 1000
"""Images of one folder of the data set."""
QUALITY = 85
LAYERS = ((4, 90.0), (16, 40.0), (64, 22.0), (160, 12.0))
"""Cells across the picture and deviation of each layer of noise: coarse shapes and fine ones, as photographs have."""
GRAIN = 5.0
"""Deviation of the noise of single pixels."""


def base_images() -> list[bytes]:
    """A few JPEG files of 640 x 480, of the size that photographs of it have."""
    import numpy as np
    from PIL import Image

    found = []
    for seed in range(BASES):
        random = np.random.default_rng(seed)
        pixels_HWC = np.full((HEIGHT, WIDTH, 3), 128.0)
        for cells, deviation in LAYERS:
            coarse = random.normal(size=(3, cells * HEIGHT // WIDTH, cells)).astype(np.float32)
            layers = [Image.fromarray(layer).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for layer in coarse]
            pixels_HWC += deviation * np.stack(layers, -1)
        pixels_HWC += random.normal(size=(HEIGHT, WIDTH, 1)) * GRAIN
        file = io.BytesIO()
        Image.fromarray(np.clip(pixels_HWC, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
        found.append(file.getvalue())
    return found


def images(count: int) -> Iterator[tuple[str, bytes]]:
    """So many different JPEG files, with their names."""
    bases = base_images()
    for number in range(count):
        comment = f"{number:08d}".encode()
        base = bases[number % len(bases)]
        distinct = base[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + base[2:]
        yield f"{number // IN_A_FOLDER:06d}/{number:08d}.jpg", distinct


def write_set(folder: Path, count: int) -> None:
    """Write a data set in LLaVA's form: ``made.json`` and the folder ``images``."""
    conversations = []
    for name, content in images(count):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        turns = [("human", f"<image>\nWhat is in picture {path.stem}?"), ("gpt", f"Noise, number {path.stem}.")]
        spoken = [{"from": who, "value": text} for who, text in turns]
        conversations.append({"id": path.stem, "image": name, "conversations": spoken})
    (folder / f"{DATASET}.json").write_text(json.dumps(conversations))


def write_checkout(folder: Path, data: Path, workers: int) -> None:
    """A checkout of this code with a profile of the smoke model for a data set, and an encoder of random weights.

    Args:
        folder: where.
        data: what ``write_set`` wrote.
        workers: processes of a step, each with one thread.
    """
    shutil.copytree(ROOT / "src", folder / "src")
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(f"profile: {PROFILE}\nseed: 7\n")
    profile = write_profile(folder, data, workers)
    write_encoder(profile, folder / "data" / PROFILE / "backbones")


def write_profile(folder: Path, data: Path, workers: int, **stage1: Any) -> Path:
    """The smoke profile for a data set, all stages at one resolution, stage 1 with these keys."""
    from tinygptv.ground.yaml_files import read_yaml

    content: dict[str, Any] = json.loads(json.dumps(read_yaml(ROOT / "configs" / "smoke.yaml")))
    content["runtime"]["threads"] = 1
    content["loader"]["workers"] = workers
    files = {"files": [str(data / f"{DATASET}.json")], "images": str(data / "images")}
    content["data"] = {DATASET: {"format": "llava", "licence": "CC0-1.0", **files}}
    content["backbones"]["data"] = [DATASET]
    content["evaluate"]["benchmarks"] = []
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        content[stage] |= {"mixture": {DATASET: 1.0}, "image_size": content["stage4"]["image_size"]}
    content["stage1"] |= stage1
    path = folder / "configs" / f"{PROFILE}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content, indent=1))  # JSON is YAML
    return path


def write_encoder(profile: Path, backbones: Path) -> None:
    """The profile's image encoder with random weights."""
    import torch

    from tinygptv.config.profiles import read_config
    from tinygptv.ground.file_names import IMAGE_ENCODER
    from tinygptv.model.configuration import image_config
    from tinygptv.model.vision import TinyGPTVImageEncoder
    from tinygptv.model.weights import save_weights

    torch.manual_seed(0)
    encoder = TinyGPTVImageEncoder(image_config(read_config(profile).model))
    backbones.mkdir(parents=True)
    save_weights(backbones / IMAGE_ENCODER, encoder.state_dict())

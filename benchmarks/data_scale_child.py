"""The processes that ``data_scale.py`` compares the steps with: nothing but the work that no step can do without.

    python benchmarks/data_scale_child.py decode IMAGES SIZE WORKERS                   # full decode, bicubic resize
    python benchmarks/data_scale_child.py encode IMAGES SIZE WORKERS PROFILE BACKBONES  # and the bare forward pass

Prints JSON: ``images``, and ``seconds`` from the first image's beginning to the last one's end; starting is not in it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOB = 500
"""Images of a job."""

_work: Callable[[Any], Any] | None = None


def decode(path: Path, size: int) -> Any:
    """An image at a square size, as PIL gives it."""
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)


def decoder(size: int) -> Callable[[list[Path]], None]:
    """What decodes a job's images."""

    def work(paths: list[Path]) -> None:
        for path in paths:
            decode(path, size)

    return work


def encoder(size: int, profile: str, backbones: str) -> Callable[[list[Path]], None]:
    """What decodes a job's images and encodes them, ``features.batch_size`` at a time."""
    import numpy as np
    import torch

    from tinygptv.config.profiles import read_config
    from tinygptv.ground import runtime
    from tinygptv.model.backbones import image_encoder

    config = read_config(Path(profile))
    device = runtime.prepare(config.runtime, 0)
    model = image_encoder(config.model, Path(backbones), getattr(torch, config.runtime.dtype)).to(device)

    def work(paths: list[Path]) -> None:
        step = config.features.batch_size
        for first in range(0, len(paths), step):
            pixels_BHWC = np.stack([np.asarray(decode(path, size)) for path in paths[first : first + step]])
            pixels_BCHW = torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                model(pixels_BCHW.to(device)).cpu()

    return work


def prepare(kind: str, arguments: list[str]) -> None:
    """Make a process ready."""
    global _work
    _work = {"decode": decoder, "encode": encoder}[kind](int(arguments[0]), *arguments[1:])


def timed(paths: list[Path]) -> tuple[float, float]:
    """When a job began and ended, by the machine's one clock."""
    assert _work is not None
    started = time.monotonic()
    _work(paths)
    return started, time.monotonic()


def main() -> None:
    """Do all images, print how long it took."""
    kind, folder, size, workers, *rest = sys.argv[1:]
    paths = sorted(Path(folder).rglob("*.jpg"))
    jobs = [paths[first : first + JOB] for first in range(0, len(paths), JOB)]
    with multiprocessing.get_context("spawn").Pool(max(1, int(workers)), prepare, (kind, [size, *rest])) as pool:
        times = list(pool.imap_unordered(timed, jobs))
    seconds = max(end for _, end in times) - min(begin for begin, _ in times)
    print(json.dumps({"images": len(paths), "seconds": seconds}))


if __name__ == "__main__":
    main()

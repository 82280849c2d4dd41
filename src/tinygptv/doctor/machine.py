"""Disk, cores, memory, GPU, and the folders that must be writable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tinygptv.doctor.findings import Finding
from tinygptv.ground.folders import STATE

LEAST_FREE_GB = 5
LEAST_MEMORY_GB = 6
LEAST_CORES = 2


def disk(root: Path) -> Iterator[Finding]:
    """Free space where the checkout lies."""
    free = shutil.disk_usage(root).free / 1e9
    text = f"{free:.0f} GB free at {root}"
    if free >= LEAST_FREE_GB:
        yield Finding("disk", "ok", text)
    else:
        yield Finding(
            "disk", "problem", f"{text}, at least {LEAST_FREE_GB} are needed", "free some space, or `dvc gc -w`"
        )


def size(root: Path) -> Iterator[Finding]:
    """Cores and memory."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory().total / 1e9
    few = cores < LEAST_CORES
    yield Finding("cores", "warning" if few else "ok", str(cores), "the pipeline will take longer" if few else "")
    if memory >= LEAST_MEMORY_GB:
        yield Finding("memory", "ok", f"{memory:.0f} GB")
    else:
        yield Finding(
            "memory", "warning", f"{memory:.1f} GB", f"close other programs; {LEAST_MEMORY_GB} GB are comfortable"
        )


def gpu(root: Path) -> Iterator[Finding]:
    """Asks the driver, not torch, whose import takes seconds."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield Finding("gpu", "ok", "none; the CPU is used")
        return
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        yield Finding("gpu", "warning", "nvidia-smi does not answer", "restart the driver, or the machine")
        return
    if done.returncode:
        yield Finding("gpu", "warning", "nvidia-smi fails", "mend the driver, or set runtime.device to cpu")
    else:
        yield Finding("gpu", "ok", "; ".join(done.stdout.split("\n")).strip("; "))


def writable(root: Path) -> Iterator[Finding]:
    """The folders that steps and DVC write."""
    for name in ("data", STATE, "reports", ".dvc"):
        folder = root / name
        nearest = folder if folder.exists() else root
        if os.access(nearest, os.W_OK | os.X_OK):
            yield Finding(f"{name}/", "ok", "can be written")
        else:
            yield Finding(f"{name}/", "problem", f"{nearest} cannot be written", f"sudo chown -R $(id -u) {nearest}")

"""Where and how numbers are computed: device, number format, threads, seeds, deterministic kernels."""

from __future__ import annotations

import gc
import os
import platform
import random
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol

from tinygptv.ground.errors import UserError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch
    from torch import nn


class ComputeSettings(Protocol):
    """What of the configuration's section ``runtime`` decides here."""

    @property
    def device(self) -> str:
        """``auto``, ``cpu`` or ``cuda``."""

    @property
    def threads(self) -> int:
        """CPU threads of torch."""

    @property
    def deterministic(self) -> bool:
        """Only kernels that give the same bits each time."""


def prepare(settings: ComputeSettings, seed: int, threads: int | None = None) -> torch.device:
    """Set threads, seeds and deterministic kernels for this process and return the device.

    Bits depend on the thread count (measured: the loss of one and of two threads differs in the 8th digit), so it
    comes from the configuration and never from the machine.

    Args:
        settings: the ``runtime`` section.
        seed: seeds torch, NumPy and Python.
        threads: overrides ``settings.threads`` where two parts of a step run side by side.

    Raises:
        UserError: CUDA is asked for and absent.
    """
    import numpy as np
    import torch

    device = resolve_device(settings.device)
    torch.set_num_threads(threads or settings.threads)
    if settings.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
        # Nothing here reads memory before it is written. By default this mode fills every new tensor first, a kernel
        # each, which on a GPU is most of what it costs.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return device


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device that exists here.

    Raises:
        UserError: CUDA is asked for and absent.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("runtime.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
    return torch.device(name)


def untimed() -> dict[str, Any]:
    """Settings of the compiler under which no choice that changes a bit is made by measuring.

    torch before 2.10 may lack the one that says all of it.
    """
    from torch._inductor import config as inductor

    options: dict[str, Any] = {"max_autotune": False, "coordinate_descent_tuning": False}
    return options | ({"deterministic": True} if hasattr(inductor, "deterministic") else {})


def autocast(model: nn.Module) -> AbstractContextManager[object]:
    """Products in the format of the model's matrices, everything else in float32; no change to a float32 model.

    Trained tensors and norms are float32 beside matrices in 16 bits (``model/assembly.py``), which torch multiplies
    only under autocast. Matrices imported from published files are float16, in which plain Phi-2 overflows and QK-Norm
    keeps the scores small. Source: the authors' ``maybe_autocast``.
    """
    from contextlib import nullcontext

    import torch

    for parameter in model.parameters():
        if parameter.dtype in (torch.bfloat16, torch.float16):
            return torch.autocast(parameter.device.type, dtype=parameter.dtype)
    return nullcontext()


def free_memory() -> None:
    """Give back what is no longer used: models hold themselves in cycles, torch keeps the memory of a device."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def quiet_libraries() -> None:
    """Keep off the terminal: transformers' bars for single files, and two remarks of bitsandbytes.

    These are that an optional 4-bit kernel that nothing here needs is missing, and, once for every layer, that 8-bit
    products take 16-bit inputs.
    """
    import logging
    import warnings

    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="MatMul8bitLt: inputs will be cast")


NUMERICAL_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "numpy",
    "pillow",
    "safetensors",
    "tokenizers",
    "webdataset",
)
"""What turns inputs into numbers; the rest of the lock file cannot change a bit of a result."""


def environment() -> dict[str, str]:
    """What decides the bits of a run: versions, instruction set, GPU and driver. No host name, no date.

    Threads and number formats decide them, too; they are settings of the profile.
    """
    import torch

    facts = software() | {"torch": torch.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["gpu_driver"] = gpu_driver()
        facts["cuda"] = str(torch.version.cuda)
    return facts


def software() -> dict[str, str]:
    """The part of the environment that is known without importing torch."""
    facts = {"python": platform.python_version(), "machine": platform.machine(), "processor": processor_name()}
    return facts | {name: metadata.version(name) for name in NUMERICAL_PACKAGES}


def gpu_driver() -> str:
    """The version of NVIDIA's driver, which chooses kernels; ``unknown`` where it does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def processor_name() -> str:
    """The processor as Linux names it, or the machine type elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123 (a kernel file)
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.machine()

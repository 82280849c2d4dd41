"""Resume points: everything a stage needs to go on, bit for bit, after a kill.

A point is a folder ``step-00000050`` with ``tensors.safetensors`` (trainable parameters, moments of the optimizer,
torch's random state) and ``state.json`` (position, loss curve, fingerprint, digest of the tensors). It is written
aside, flushed to disk and renamed; the two newest are kept, and a damaged one is passed over for the one before it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.errors import DataError
from tinygptv.files import read_json, replace_folder, sha256_file, write_json

if TYPE_CHECKING:
    import torch

    from tinygptv.training.loop import TrainingState

KEPT = 2
TENSORS, STATE = "tensors.safetensors", "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save(folder: Path, state: TrainingState, fingerprint: dict[str, Any]) -> Path:
    """Write a resume point and remove those older than the two newest.

    Args:
        folder: the stage's state folder.
        state: the training after ``state.step`` steps.
        fingerprint: what must be equal for this point to be of use.
    """
    from safetensors.torch import save_file

    point = folder / f"step-{state.step:08d}"
    staged = folder / f".{point.name}.tmp"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    save_file(_tensors(state), staged / TENSORS)
    content = {
        "step": state.step,
        "history": state.history,
        "window": state.window,
        "fingerprint": fingerprint,
        "sha256": sha256_file(staged / TENSORS),
    }
    write_json(staged / STATE, content)
    replace_folder(staged, point)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)
    return point


def restore(folder: Path, state: TrainingState, fingerprint: dict[str, Any]) -> list[str]:
    """Put ``state`` where the newest usable resume point left it; without one it stays as it is.

    Returns:
        Lines that say what was found: the point taken, damaged ones passed over, and what differs in stale ones.
    """
    from safetensors.torch import load_file

    lines = []
    for point in sorted(folder.glob("step-*"), reverse=True):
        try:
            content = read_json(point / STATE)
            recorded = content["fingerprint"]
            position = content["step"], content["history"], content["window"]
            intact = (point / TENSORS).is_file() and sha256_file(point / TENSORS) == content["sha256"]
        except (DataError, KeyError, TypeError):
            intact = False
        if not intact:
            lines.append(f"resume point {point.name} is damaged and was passed over")
            continue
        changed = differing_keys(recorded, fingerprint)
        if changed:
            lines.append(f"resume point {point.name} is of another run and was passed over: {', '.join(changed)}")
            continue
        _set_tensors(state, load_file(point / TENSORS))
        state.step, state.history, state.window = position
        lines.append(f"going on after step {state.step}")
        break
    return lines


def differing_keys(recorded: Any, present: Any, prefix: str = "") -> list[str]:
    """Keys whose values differ, as ``key (recorded -> present)``."""
    if isinstance(recorded, dict) and isinstance(present, dict):
        keys = sorted({*recorded, *present})
        return [d for k in keys for d in differing_keys(recorded.get(k), present.get(k), f"{prefix}{k}.")]
    return [] if recorded == present else [f"{prefix.rstrip('.')} ({recorded} -> {present})"]


def _tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    import torch

    tensors = {f"parameter/{name}": p.detach().contiguous() for name, p in state.parameters.items()}
    for name, parameter in state.parameters.items():
        for moment in MOMENTS:
            if moment in state.optimizer.state[parameter]:
                tensors[f"{moment}/{name}"] = state.optimizer.state[parameter][moment]
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    return tensors


def _set_tensors(state: TrainingState, tensors: dict[str, torch.Tensor]) -> None:
    import torch

    for name, parameter in state.parameters.items():
        with torch.no_grad():
            parameter.copy_(tensors[f"parameter/{name}"])
        for moment in MOMENTS:
            if f"{moment}/{name}" in tensors:
                value = tensors[f"{moment}/{name}"]
                state.optimizer.state[parameter][moment] = value if moment == "step" else value.to(parameter.device)
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"])

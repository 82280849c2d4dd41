"""Resume points: everything a stage needs to go on, bit for bit, after a kill.

A point is a folder ``<fingerprint>/step-00000050`` with ``tensors.safetensors`` (trainable parameters, moments of the
optimizer, the trace, the weights of the best look at held-out records) and ``state.json`` (position, fingerprint,
digests). No random generator is among them: what is drawn is computed from the step (``step.py``). A point is written
aside, flushed to disk, renamed and read again before an older one goes; the two newest are kept, and a damaged one is
passed over for the one before it.

The fingerprint is of all that decides the result: configuration, seed, data, parent, base weights, environment, code.
Points of another one are neither used nor touched.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground.differences import changed_keys
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import canonical, replace_folder, sha256_file, write_bytes
from tinygptv.training.loop import BEGUN, LOOKS

if TYPE_CHECKING:
    import torch

    from tinygptv.training.loop import Point, TrainingState

KEPT = 2
TENSORS, STATE = "tensors.safetensors", "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True)
class ResumePoints:
    """The resume points of a stage."""

    folder: Path
    """The stage's state folder."""
    fingerprint: Mapping[str, Any]
    """What must be equal for a point to be of use."""
    changes: list[str] = field(default_factory=list)
    """Differences over which training went on, because the user allowed them."""

    @property
    def own(self) -> Path:
        """The folder of the points with this fingerprint."""
        return self.folder / hashlib.sha256(canonical(self.fingerprint).encode()).hexdigest()[:16]

    def save(self, state: TrainingState) -> Path:
        """Write a point, check what lies on disk, and remove those older than the two newest.

        Raises:
            DataError: what was written does not read back.
        """
        from safetensors.torch import save

        point = self.own / f"step-{state.step:08d}"
        staged = self.own / f".{point.name}.tmp"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        content = save(_tensors(state))
        write_bytes(staged / TENSORS, content)
        inner = {
            "step": state.step,
            "changes": self.changes,
            "fingerprint": self.fingerprint,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        write_bytes(staged / STATE, _sealed(inner))
        replace_folder(staged, point)
        if _read(point) is None:
            raise DataError(f"{point} does not read back as it was written; check the disk and run the command again")
        for old in _points(self.own)[KEPT:]:
            shutil.rmtree(old)
        return point

    def restore(self, state: TrainingState, allowed: Sequence[str] = ()) -> list[str]:
        """Put ``state`` where the newest usable point left it; without one it stays as it is.

        Args:
            state: of a training that has not begun.
            allowed: keys of the fingerprint that may differ, such as ``config.stage1.log_every``.

        Returns:
            Lines that say what was found: the point taken, damaged ones, and what differs in one of another run.

        Raises:
            DataError: the differences are allowed, but other tensors train.
        """
        lines: list[str] = []
        found = _newest(self.own, lines)
        if found is None:
            found = self._of_another_run(allowed, lines)
        if found is None:
            return lines
        point, content = found
        _set_tensors(state, point / TENSORS)
        self.changes = [*content["changes"], *self.changes]
        return [*lines, f"going on after step {state.step}"]

    def _of_another_run(self, allowed: Sequence[str], lines: list[str]) -> tuple[Path, dict[str, Any]] | None:
        """The newest point with another fingerprint, if all that differs is allowed to."""
        others = [folder for folder in self.folder.glob("[0-9a-f]*") if folder != self.own and _points(folder)]
        for folder in sorted(others, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            found = _newest(folder, lines)
            if found is None:
                continue
            point, content = found
            differing = changed_keys(content["fingerprint"], self.fingerprint)
            refused = [text for key, text in differing.items() if key not in allowed]
            if not refused:
                self.changes = [f"after step {content['step']}: {text}" for text in differing.values()]
                return found
            lines.append(
                f"resume point {point.name} is of another run and is not used: {', '.join(refused)}; it is kept until "
                "the stage ends, and `--allow-changed KEY` for each of these goes on from it"
            )
            break
        return None


def _points(folder: Path) -> list[Path]:
    """A folder's points, the newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _newest(folder: Path, lines: list[str]) -> tuple[Path, dict[str, Any]] | None:
    """The newest point that is whole; a line for each damaged one."""
    for point in _points(folder):
        content = _read(point)
        if content is not None:
            return point, content
        lines.append(f"resume point {point.name} is damaged and was passed over")
    return None


def _read(point: Path) -> dict[str, Any] | None:
    """A point's ``state.json``, or None where it or the tensors are not what was written."""
    try:
        text = (point / STATE).read_bytes()
        inner = json.loads(text)["state"]
        if _sealed(inner) != text or sha256_file(point / TENSORS) != inner["sha256"]:
            return None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None  # what cannot be read just now is not damaged: to pass over it would lose the work
    return dict(inner)


def _sealed(inner: Mapping[str, Any]) -> bytes:
    """A point's ``state.json``: its content and the digest of it, in the one form that these have."""
    return canonical({"state": inner, "sha256": hashlib.sha256(canonical(inner).encode()).hexdigest()}).encode()


def _tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    tensors = {f"parameter/{name}": p.detach().contiguous() for name, p in state.parameters.items()}
    for name, parameter in state.parameters.items():
        for moment in MOMENTS:
            if moment in state.optimizer.state[parameter]:
                tensors[f"{moment}/{name}"] = state.optimizer.state[parameter][moment]
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    return tensors | {f"trace/{name}": tensor for name, tensor in _trace_tensors(state.trace).items()}


def _set_tensors(state: TrainingState, path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    found = {name: t.shape for key, t in tensors.items() if (name := key.removeprefix("parameter/")) != key}
    expected = {name: parameter.shape for name, parameter in state.parameters.items()}
    if differing := sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name)):
        raise DataError(
            f"{path.parent} holds other tensors than this stage trains ({', '.join(differing[:3])}); "
            "run the command again without `--allow-changed`"
        )
    for name, parameter in state.parameters.items():
        with torch.no_grad():
            parameter.copy_(tensors[f"parameter/{name}"])
    names = {parameter: name for name, parameter in state.parameters.items()}
    ordered = [names[parameter] for group in state.optimizer.param_groups for parameter in group["params"]]
    moments = {
        place: {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS if f"{moment}/{name}" in tensors}
        for place, name in enumerate(ordered)
    }
    # The optimizer alone knows where each lies: AdamW's count of steps is with its parameter if fused, else on the CPU.
    state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": moments})
    state.trace = _trace({key.removeprefix("trace/"): t for key, t in tensors.items() if key.startswith("trace/")})
    state.best = {key.removeprefix("best/"): t for key, t in tensors.items() if key.startswith("best/")}


def _trace_tensors(trace: Sequence[Point]) -> dict[str, torch.Tensor]:
    """The trace as columns: as JSON it would make the points of a long stage slow."""
    import torch

    columns = {
        "loss": torch.tensor([point["loss"] for point in trace], dtype=torch.float64),
        "lr": torch.tensor([point["lr"] for point in trace], dtype=torch.float64),
        "grad_norm": torch.tensor([point["grad_norm"] for point in trace], dtype=torch.float64),
        "batch": torch.tensor([int.from_bytes(bytes.fromhex(p["batch"]), "big", signed=True) for p in trace]),
    }
    for name in (*LOOKS, *BEGUN.values()):  # NaN at the steps without a look; without any there is no column
        looks = [point.get(name, math.nan) for point in trace]
        if not all(math.isnan(value) for value in looks):
            columns[name] = torch.tensor(looks, dtype=torch.float64)
    return columns


def _trace(columns: Mapping[str, torch.Tensor]) -> list[Point]:
    rows = zip(*(columns[name].tolist() for name in ("loss", "lr", "grad_norm", "batch")), strict=True)
    trace: list[Point] = [
        {"step": i, "loss": loss, "lr": lr, "grad_norm": norm, "batch": batch.to_bytes(8, "big", signed=True).hex()}
        for i, (loss, lr, norm, batch) in enumerate(rows, start=1)
    ]
    for name in (look for look in (*LOOKS, *BEGUN.values()) if look in columns):
        for point, value in zip(trace, columns[name].tolist(), strict=True):
            if not math.isnan(value):
                point[name] = value
    return trace

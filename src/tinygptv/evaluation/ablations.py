"""Ablations: the changes to a profile, and the four-stage loss and gradient norm of each, as figure and table.

Source: paper, section 4.4, tables 4 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygptv.evaluation.drawing import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, VERMILLION, figure
from tinygptv.evaluation.report import STAGE_TITLES
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.names import STAGES

LINE_COLOURS = (INK, BLUE, ORANGE, GREEN, VERMILLION, PURPLE)
ABSENT = ("model.text.architecture", "model.text.num_key_value_heads")
"""Keys that a profile may leave out."""
VANISHED = "V"
"""The paper's mark for a loss that became NaN or infinite ("gradient vanish")."""
PAPER: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "tiny": {
        "full": ("2.620", "2.343", "1.125", "1.330"),
        "without LoRA": ("2.620", "-", VANISHED, ""),
        "without trained input norm": ("2.839", "2.555", "1.344", VANISHED),
        "without RMSNorm": ("2.747", VANISHED, "-", ""),
        "without QK-Norm": (VANISHED, "-", "-", "-"),
        "Phi-1.5": ("3.420", "3.043", "1.525", "1.730"),
    },
    "llama": {
        "full": ("3.529", "3.053", "1.371", "1.830"),
        "without LoRA": ("3.529", "-", VANISHED, ""),
        "without trained input norm": ("3.611", "3.331", "1.444", VANISHED),
        "without RMSNorm": ("3.607", VANISHED, "", ""),
        "without QK-Norm": (VANISHED, "", "", ""),
    },
    "backbones": {
        "EVA-CLIP with Phi-2": ("2.620", "2.343", "1.125", "1.330"),
        "EVA-CLIP with TinyLLaMA": ("3.529", "3.053", "1.371", "1.830"),
    },
}
"""Family (a file of configs/ablations) to variant to the final loss of each stage in the paper's tables 4 and 6, with
its signs for what failed or was not run."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """One trained variant."""

    histories: Mapping[str, Sequence[Mapping[str, float]]]
    """Stage → points with ``step``, ``loss`` and ``grad_norm``; without the stages that were not reached."""
    stopped: str
    """What the stage that stopped said; empty: all four stages ended well."""
    accuracy: float | None
    """Of the questions on the test set, where all four stages ended well."""


def change(profile: dict[str, Any], changes: Mapping[str, Any], origin: str) -> None:
    """Set dotted keys of a profile's content, in place.

    Raises:
        ConfigError: the profile has no such key.
    """
    for dotted, value in changes.items():
        *sections, key = dotted.split(".")
        place: Any = profile
        for section in sections:
            place = place.get(section, {})
        if not isinstance(place, dict) or (key not in place and dotted not in ABSENT):
            raise ConfigError(f"{origin}: the profile has no key `{dotted}`")
        place[key] = value


def final_losses(ablation: Ablation) -> tuple[str, ...]:
    """Loss at the end of each stage; the paper's marks for the stage that stopped and those after it."""
    cells = []
    for stage in STAGES:
        points = ablation.histories.get(stage)
        cells.append(f"{points[-1]['loss']:.3f}" if points else VANISHED if VANISHED not in cells else "-")
    return tuple(cells)


def markdown_table(ablations: Mapping[str, Ablation], family: str) -> str:
    """Final losses, ours beside the paper's, with the test accuracy that each variant of a family reaches."""
    lines = [
        "| variant | " + " | ".join(f"stage {i}: ours (paper)" for i in range(1, 5)) + " | test accuracy |",
        "| --- | " + " | ".join(["---:"] * 5) + " |",
    ]
    for name, ablation in ablations.items():
        theirs = PAPER[family].get(name, ("",) * len(STAGES))
        cells = [f"{o} ({p})" if p else o for o, p in zip(final_losses(ablation), theirs, strict=True)]
        reached = "-" if ablation.accuracy is None else f"{ablation.accuracy:.4f}"
        lines.append(f"| {name} | " + " | ".join([*cells, reached]) + " |")
    return "\n".join(lines)


def curves(ablations: Mapping[str, Ablation], path: Path) -> None:
    """Loss above, gradient norm below, one column a stage, one line a variant.

    Args:
        ablations: name → variant, at most six.
        path: the PNG to write.
    """
    with figure(11, 5.4, path) as drawing:
        first = next(iter(ablations))
        grid = drawing.subplots(2, len(STAGES), sharey="row", sharex="col")
        for column, stage in enumerate(STAGES):
            for (name, ablation), colour in zip(ablations.items(), LINE_COLOURS[: len(ablations)], strict=True):
                points = ablation.histories.get(stage, ())
                for row, key in enumerate(("loss", "grad_norm")):
                    values = [point[key] for point in points]
                    look = {"color": colour, "linewidth": 1.8 if name == first else 1.0}
                    grid[row, column].plot([p["step"] for p in points], values, label=name, **look)
            grid[0, column].set_title(STAGE_TITLES[stage])
            grid[1, column].set_xlabel("step")
        for row, label in enumerate(("loss (nats per answer token)", "gradient norm before clipping")):
            grid[row, 0].set_ylabel(label)
            for axes in grid[row]:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
                axes.tick_params(axis="y", which="minor", labelsize=0, colors=QUIET)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="lower center", ncols=len(labels))
        drawing.tight_layout(rect=(0, 0.05, 1, 1))

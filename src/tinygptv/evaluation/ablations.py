"""Ablations: the changes to a profile, and the four-stage loss and gradient norm of each, as figure and tables.

Source: paper, section 4.4, tables 4 and 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tinygptv.config import Config
from tinygptv.config.profiles import check_config
from tinygptv.evaluation.drawing import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, VERMILLION, figure
from tinygptv.evaluation.report import STAGE_TITLES
from tinygptv.ground.errors import ConfigError, meant
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import profile_file, profile_names, read_yaml

LINE_COLOURS = (INK, BLUE, ORANGE, GREEN, VERMILLION, PURPLE)
ABSENT = ("model.text.architecture", "model.text.num_key_value_heads")
"""Keys that a profile may leave out."""
PARTS = "parts"
"""The file of changes that any profile may take."""
VANISHED = "V"
"""The paper's mark for a loss that became NaN or infinite ("gradient vanish")."""
FULL = "full"
PAPER: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "Phi-2": {
        FULL: ("2.620", "2.343", "1.125", "1.330"),
        "without LoRA": ("2.620", "-", VANISHED, ""),
        "without trained input norm": ("2.839", "2.555", "1.344", VANISHED),
        "without RMSNorm": ("2.747", VANISHED, "-", ""),
        "without QK-Norm": (VANISHED, "-", "-", "-"),
    },
    "Phi-1.5": {
        FULL: ("3.420", "3.043", "1.525", "1.730"),
        "without LoRA": ("3.420", "-", VANISHED, ""),
        "without trained input norm": ("3.555", "3.221", "1.544", VANISHED),
        "without RMSNorm": ("3.557", VANISHED, "", ""),
        "without QK-Norm": (VANISHED, "", "", ""),
    },
    "TinyLLaMA": {
        FULL: ("3.529", "3.053", "1.371", "1.830"),
        "without LoRA": ("3.529", "-", VANISHED, ""),
        "without trained input norm": ("3.611", "3.331", "1.444", VANISHED),
        "without RMSNorm": ("3.607", VANISHED, "", ""),
        "without QK-Norm": (VANISHED, "", "", ""),
    },
}
"""Language model to what is taken from it to the final loss of each stage in the paper's tables 4 and 6, with its signs
for what failed or was not run."""
MODELS = {"tiny": "Phi-2", "phi15": "Phi-1.5", "llama": "TinyLLaMA"}
"""Families (files of configs/ablations) whose variants take parts from one language model."""
PAPERS_TOWER = "EVA-CLIP with "
"""How variants of other families begin that are the paper's full model, before the language model's name."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """One trained variant, with one seed."""

    histories: Mapping[str, Sequence[Mapping[str, float]]]
    """Stage → points with ``step``, ``loss`` and ``grad_norm``; without the stages that were not reached."""
    stopped: str
    """What the stage that stopped said; empty: all four stages ended well."""
    accuracy: float | None
    """Of the questions on the test set, where all four stages ended well."""

    def last(self, stage: str, key: str) -> float | str:
        """The value at the end of a stage; the paper's marks for the stage that stopped and those after it."""
        if points := self.histories.get(stage):
            return points[-1][key]
        return VANISHED if stage == next(name for name in STAGES if not self.histories.get(name)) else "-"


def families(root: Path) -> list[str]:
    """Files of configs/ablations, sorted."""
    return profile_names(_folder(root))


def read_family(root: Path, family: str, profile: str) -> dict[str, dict[str, Any]]:
    """Variant → the dotted keys of a profile that it changes, in the order of the family's file.

    Raises:
        ConfigError: no such family, or a variant takes what the profile has no changes for.
    """
    folder, path = _folder(root), _folder(root) / f"{family}.yaml"
    if family not in (names := families(root)):
        raise ConfigError(f"no family {family!r} in {folder}; there are {', '.join(names)}{meant(family, names)}")
    own = changes_file(root, profile)
    known = {**read_yaml(changes_file(root, PARTS)), **(read_yaml(own) if own.is_file() else {})}
    found: dict[str, dict[str, Any]] = {}
    for variant, taken in read_yaml(path).items():
        if absent := [item for item in taken if not isinstance(item, Mapping) and item not in known]:
            raise ConfigError(f"{path}: {variant}: no {absent[0]!r} in {own}; give it the values of that profile")
        found[variant] = {}
        for item in taken:
            found[variant] |= item if isinstance(item, Mapping) else known[item]
    return found


def changes_file(root: Path, profile: str) -> Path:
    """What of a profile is another with the paper's other backbones."""
    return _folder(root) / "changes" / f"{profile}.yaml"


def changed(root: Path, profile: str, changes: Mapping[str, Any], origin: str) -> Config:
    """The checked profile with a variant's changes.

    Raises:
        ConfigError: the profile has no such key, or is not valid with them; the message begins with ``origin``.
    """
    content = json.loads(json.dumps(read_yaml(profile_file(root, profile))))  # nothing is in two places any more
    change(content, changes, origin)
    return check_config(content, origin)


def _folder(root: Path) -> Path:
    return root / "configs" / "ablations"


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


def published(family: str, variant: str) -> tuple[str, ...]:
    """The paper's losses of a family's variant; empty where it gives none."""
    model = MODELS.get(family) or (variant.removeprefix(PAPERS_TOWER) if variant.startswith(PAPERS_TOWER) else "")
    return PAPER.get(model, {}).get(variant if family in MODELS else FULL, ("",) * len(STAGES))


def markdown_table(found: Mapping[str, Sequence[Ablation]], family: str) -> str:
    """Final losses, ours beside the paper's, with the test accuracy; below, the last gradient norms.

    Args:
        found: variant → what each of its seeds gave. Of several seeds the mean is told, with the lowest and the
            highest behind it.
        family: a file of configs/ablations.
    """
    seeds = len({len(ablations) for ablations in found.values()} | {1}) > 1
    head = ["variant", *(["seeds"] if seeds else [])]
    losses = [*head, *(f"stage {i}: ours (paper)" for i in range(1, 5)), "test accuracy"]
    norms = [*head, *(f"gradient norm, stage {i}" for i in range(1, 5))]
    rows, below = [], []
    for name, ablations in found.items():
        begin = [name, *([str(len(ablations))] if seeds else [])]
        ours = [_told([one.last(stage, "loss") for one in ablations], 3) for stage in STAGES]
        cells = [f"{o} ({p})" if p else o for o, p in zip(ours, published(family, name), strict=True)]
        reached = _told(["-" if one.accuracy is None else one.accuracy for one in ablations], 4)
        rows.append([*begin, *cells, reached])
        below.append([*begin, *(_told([one.last(stage, "grad_norm") for one in ablations], 3) for stage in STAGES)])
    return "\n".join([*_markdown(losses, rows), "", *_markdown(norms, below)])


def _told(values: Sequence[float | str], digits: int) -> str:
    """A value of one seed, or of several: mean, lowest and highest, and in how many the stage stopped."""
    numbers = [value for value in values if not isinstance(value, str)]
    marks = [value for value in values if isinstance(value, str)]
    if not numbers:
        return VANISHED if VANISHED in marks else "-"
    text = f"{fmean(numbers):.{digits}f}"
    if len(numbers) > 1:
        text += f" [{min(numbers):.{digits}f}, {max(numbers):.{digits}f}]"
    return text + (f"; {len(marks)} of {len(values)} stopped" if marks else "")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def curves(found: Mapping[str, Sequence[Ablation]], path: Path) -> None:
    """Loss above, gradient norm below, one column a stage, one line a variant: the mean of its seeds in their span.

    Args:
        found: variant → what each of its seeds gave, at most six.
        path: the PNG to write.
    """
    with figure(11, 5.4, path) as drawing:
        first = next(iter(found))
        grid = drawing.subplots(2, len(STAGES), sharey="row", sharex="col")
        for column, stage in enumerate(STAGES):
            for (name, ablations), colour in zip(found.items(), LINE_COLOURS[: len(found)], strict=True):
                runs = [points for one in ablations if (points := one.histories.get(stage))]
                for row, key in enumerate(("loss", "grad_norm")):
                    together = [(same[0]["step"], [point[key] for point in same]) for same in zip(*runs, strict=True)]
                    steps = [step for step, _ in together]
                    look = {"color": colour, "linewidth": 1.8 if name == first else 1.0}
                    grid[row, column].plot(steps, [fmean(values) for _, values in together], label=name, **look)
                    if len(runs) > 1:
                        lows, highs = ([end(values) for _, values in together] for end in (min, max))
                        grid[row, column].fill_between(steps, lows, highs, color=colour, alpha=0.2, linewidth=0)
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

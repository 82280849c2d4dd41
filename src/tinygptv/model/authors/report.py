"""What an import did with every tensor of every file."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Self

from tinygptv.ground.errors import CheckpointError

REPORT = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """Account of an import. Names of tensors carry their file: ``phi/…``, ``vision/…``, ``qformer/…`` or
    ``checkpoint/…``.

    ``str(report)`` is a summary, ``as_json()`` the whole.
    """

    files: dict[str, str]
    """Part to the path it was read from."""
    layout: str
    """Of queries, keys and values in the language model's file."""
    sizes: dict[str, int]
    """What the tensors told: widths, depths, vocabulary, patches, queries, positions."""
    lora: dict[str, float] | None
    """Rank (from the tensors) and alpha (as given) of the adapters; None without any."""
    mapped: dict[str, str]
    """Their names to ours; parts of a fused matrix as ``….weight#q``."""
    replaced: list[str]
    """Tensors of the first three files for which the checkpoint has another value, which counts."""
    ignored: dict[str, str]
    """Their names to the reason."""
    fresh: list[str]
    """Our names of what no file has: added norms at 1 and 0, or without a checkpoint the projections, at random."""

    @property
    def trained(self) -> set[str]:
        """Our names of what the checkpoint holds."""
        return {ours for theirs, ours in self.mapped.items() if theirs.startswith("checkpoint/")}

    @property
    def of_base(self) -> set[str]:
        """Our names of what the other three files hold."""
        mapped = (ours for theirs, ours in self.mapped.items() if not theirs.startswith("checkpoint/"))
        return {ours.partition("#")[0] for ours in mapped}

    def as_json(self) -> dict[str, Any]:
        """The account as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any, where: str) -> Self:
        """The account that ``as_json`` gave.

        Raises:
            CheckpointError: it is not one of this version.
        """
        try:
            return cls(**content)
        except TypeError:
            raise CheckpointError(f"{where} is no report of this version's import; import again") from None

    def __str__(self) -> str:
        files = Counter(name.partition("/")[0] for name in self.mapped)
        lines = [f"{part:<11}{path}: {files[part]} tensors mapped" for part, path in self.files.items()]
        sizes = ", ".join(f"{name} {value}" for name, value in self.sizes.items())
        lines.append(f"{'sizes':<11}{sizes}")
        lines.append(f"{'layout':<11}queries, keys and values {self.layout} in the language model's file")
        adapters = f"LoRA of rank {self.lora['rank']:g}, alpha {self.lora['alpha']:g}" if self.lora else "no LoRA"
        lines.append(f"{'adapters':<11}{adapters}")
        lines.append(f"{'replaced':<11}{_some(self.replaced)} (the checkpoint's values count)" if self.replaced else "")
        for reason in dict.fromkeys(self.ignored.values()):
            of_reason = [name for name, why in self.ignored.items() if why == reason]
            lines.append(f"{'ignored':<11}{_some(of_reason)}: {reason}")
        lines.append(f"{'fresh':<11}{_some(self.fresh)}" if self.fresh else "")
        return "\n".join(line for line in lines if line)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:2])
    return f"{len(names)} ({shown}{', …' if len(names) > 2 else ''})"

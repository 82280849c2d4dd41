"""What must hold before a package is asked anything: its papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygptv.promotion.decide import Check, row


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the questions of a data set have in common with what was there to train with."""

    dataset: str
    records: int
    """Its questions that were there, with their images."""
    images: int
    """Its images that were there."""
    by_design: bool
    """Whether its benchmark means its images to be among common training data."""

    @property
    def problem(self) -> str:
        """Why it is refused; empty where it is not."""
        if self.images and not self.by_design:
            return f"{self.dataset}: {self.images:,} images were trained with"
        return f"{self.dataset}: {self.records:,} questions were trained with" if self.records else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is known of a package before anybody asks it."""

    broken: Sequence[tuple[str, str]] = ()
    """Broken links of its lineage: place and problem."""
    package: Sequence[str] = ()
    """In what it is not the package that the pipeline made."""
    shared: Sequence[Shared] = ()
    """Of each data set that is asked."""
    rolled_back: str | None = None
    """When it was rolled back, where nobody asked for this very version."""


def on_credentials(found: Credentials) -> tuple[Check, ...]:
    """Judge a package's papers."""
    places = ", ".join(dict.fromkeys(place for place, _ in found.broken))
    first = f"broken at {places}; {found.broken[0][0]}: {found.broken[0][1]}" if found.broken else ""
    rows = [
        row("lineage", len(found.broken), 0, first, note="broken links"),
        row("package", len(found.package), 0, "; ".join(found.package), note="differences from what was made"),
        _test_split(found.shared),
    ]
    if found.rolled_back is not None:
        problem = f"rolled back at {found.rolled_back}; `tinygptv promote VERSION` promotes it all the same"
        rows.append(row("rollback", None, None, problem))
    return tuple(rows)


def _test_split(shared: Sequence[Shared]) -> Check:
    """No question that is asked was trained with; images that others train with, too, are told."""
    problems = [found.problem for found in shared if found.problem]
    refused = sum(max(found.images if not found.by_design else 0, found.records) for found in shared)
    by_design = ", ".join(f"{found.dataset} {found.images:,}" for found in shared if found.by_design and found.images)
    told = "test questions and images trained with" + (f"; images shared by design: {by_design}" if by_design else "")
    return row("test split", refused, 0, "; ".join(problems), told)

"""What a fetch would get, said before it begins: files, bytes, hours, room, licences, what a person has to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinygptv.config import DataSet
from tinygptv.fetching.fetch import MissingFile, by_hand, missing_files, room_needed
from tinygptv.fetching.sources import SOURCES, AddressList, Sources, giving
from tinygptv.ground.errors import free_bytes
from tinygptv.ground.files import tree_size
from tinygptv.ground.tables import plain_table, some

RATE = 10_000_000
"""Bytes a second that hours are told at."""
PICTURES_RATE = 100
"""Pictures a second, of lists of addresses: many small files of many hosts."""
GB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPlan:
    """Entries of the lock file, and what of them is missing."""

    home: Path
    sources: Sources
    """Those that are asked for."""
    files: list[MissingFile]
    by_hand: dict[str, str]
    """Path → how a person gets what lies there."""
    pictures: dict[str, AddressList]
    """Entry → its list of addresses."""

    @property
    def unlocked(self) -> dict[str, list[str]]:
        """Entry → names of missing files of which nobody has pinned what they must be."""
        found: dict[str, list[str]] = {}
        for one in self.files:
            if not one.file.locked:
                found.setdefault(one.entry, []).append(one.file.name)
        return found

    @property
    def left(self) -> int:
        """Bytes that are still to come, as far as they are known."""
        return sum(one.left for one in self.files)

    def picture_bytes(self, name: str) -> int:
        """Bytes that the pictures of an entry's list will still take; 0 where nobody says how many they are."""
        size, to = self.sources[name].counts.bytes or 0, self.home / self.pictures[name].to
        return max(0, size - (tree_size(to) if size and to.is_dir() else 0))


def make_plan(home: Path, asked: Sources, folder: Path | None = None) -> FetchPlan:
    """Look at what is there.

    Args:
        home: the checkout that has ``data/raw``.
        asked: the entries that are asked for.
        folder: has files already.
    """
    hand: dict[str, str] = {}
    for source in asked.values():
        hand |= by_hand(home, source)
    return FetchPlan(
        home=home,
        sources=asked,
        files=missing_files(home, asked, folder),
        by_hand=hand,
        pictures={name: source.pictures for name, source in asked.items() if source.pictures is not None},
    )


def needed_by(sets: dict[str, DataSet], sources: Sources) -> tuple[str, ...]:
    """The entries that give what the data sets of a profile name, in the lock file's order."""
    paths = {path for of_set in sets.values() for path in (*of_set.files, of_set.images) if path}
    found = {name for path in paths for name in giving(sources, path)}
    return tuple(name for name in sources if name in found)


def render(plan: FetchPlan) -> str:
    """The plan for a terminal."""
    parts = [_table(plan), _sum(plan), _terms(plan)]
    if plan.unlocked:
        names = [f"{', '.join(files)} of {entry}" for entry, files in plan.unlocked.items()]
        parts.append(
            f"Not pinned in {SOURCES}, so not fetched: {some(names)}; `tinygptv data lock {' '.join(plan.unlocked)}` "
            "takes once on trust what their addresses have"
        )
    if plan.by_hand:
        parts.append("By hand:\n" + "\n".join(f"  {path}: {how}" for path, how in plan.by_hand.items()))
    return "\n\n".join(part for part in parts if part)


def _table(plan: FetchPlan) -> str:
    missing: dict[str, list[MissingFile]] = {name: [] for name in plan.sources}
    for one in plan.files:
        missing[one.entry].append(one)
    rows = []
    for name, source in plan.sources.items():
        to_get, files = missing[name], len(source.files)
        unknown = any(one.file.size is None and one.copy is None for one in to_get)
        known = sum(one.left for one in to_get)
        size = " and ".join([f"{known / GB:.2f}"] * bool(known or not unknown) + ["?"] * unknown)
        asked = "about " if source.counts.rounded else ""
        pictures = f"{asked}{source.counts.images:,} by address" if source.pictures and source.counts.images else ""
        rows.append((name, f"{files - len(to_get)} of {files}" if files else "", size if to_get else "", pictures))
    return plain_table(("set", "files there", "GB to get", "pictures"), rows, right=(1, 2))


def _sum(plan: FetchPlan) -> str:
    lines = [f"To download: {plan.left / GB:,.1f} GB, {plan.left / RATE / 3600:.1f} hours at {RATE / 1e6:.0f} MB/s."]
    pictures = sum(plan.sources[name].counts.images or 0 for name in plan.pictures)
    if pictures:
        hours = pictures / PICTURES_RATE / 3600
        room = f"{sum(plan.picture_bytes(name) for name in plan.pictures) / GB:,.0f} GB or more"
        lines.append(
            f"By address: some {pictures:,} pictures, {room}, {hours:,.0f} hours at {PICTURES_RATE} a second; "
            "many are gone."
        )
    for place, size in room_needed(plan.files):
        lines.append(f"Room on the disk of {place}: {size / GB:,.1f} GB needed, {free_bytes(place) / GB:,.1f} GB free.")
    return "\n".join(lines)


def _terms(plan: FetchPlan) -> str:
    rows = [(name, source.licence, source.terms) for name, source in plan.sources.items()]
    return plain_table(("licence of", "", "terms"), rows)

"""Back to the champion before: one command, nothing is measured, and nothing is restored that is not whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import UserError
from tinygptv.promotion.aliases import FORMER_TAG, Move, make, moves, only_promotion, require_champion
from tinygptv.promotion.promote import package_of
from tinygptv.tracking.client import Tracking, reachable, require_store
from tinygptv.tracking.registry import CHAMPION, PREVIOUS, find_version, version_by_alias


@dataclass(frozen=True, slots=True)
class Restored:
    """What a rollback did."""

    name: str
    champion: str
    """The version that is champion again."""
    rolled_back: str | None
    """The version that was champion until now."""
    previous: str | None
    """Where a further rollback would lead."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def line(self) -> str:
        """For a terminal."""
        further = f"; before it was version {self.previous}" if self.previous is not None else ""
        return f"{self.name} version {self.champion} is champion again, not version {self.rolled_back}{further}"


def rollback(root: Path, name: str) -> Restored:
    """Make the previous champion champion again.

    Args:
        root: the checkout.
        name: the registered model.

    Raises:
        UserError: there is no previous one, it is damaged, or a promotion is running.
    """
    require_store(root, f"no model {name}")
    with only_promotion(root, name), reachable(root) as tracking:
        return _rollback(tracking, name)


def _rollback(tracking: Tracking, name: str) -> Restored:
    with moves(tracking, name) as (_, left):
        pass
    if left is not None and left.back:  # this command again, which was killed
        return Restored(name, left.champion, left.former, left.previous)
    bad, target = version_by_alias(tracking, name, CHAMPION), version_by_alias(tracking, name, PREVIOUS)
    if target is None or target == bad:
        raise UserError(f"{name} has no previous champion in {tracking.uri}; `tinygptv promote VERSION` makes one")
    with package_of(tracking, name, target) as (_, problems):
        if problems:
            raise UserError(f"{name} version {target} cannot be champion again: {'; '.join(problems)}")
    with moves(tracking, name) as (mine, _):
        require_champion(tracking, name, bad)
        earlier = _earlier(tracking, name, target)
        move = Move(champion=target, previous=earlier, former=bad, before=target, back=True)
        make(tracking, name, mine, move)
    return Restored(name, target, bad, earlier)


def _earlier(tracking: Tracking, name: str, version: str) -> str | None:
    """The champion whose place a version took when it was promoted, if that one still exists."""
    former = find_version(tracking, name, version).tags.get(FORMER_TAG, "none")
    if not former.isdecimal() or former == version:
        return None
    try:
        return str(find_version(tracking, name, former).version)
    except UserError:
        return None  # deleted since: then there is nothing before

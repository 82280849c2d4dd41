"""The aliases: who may move them, in which order, so that ``champion`` names a complete version at every moment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tinygptv.ground.errors import BusyError, DataError, UserError
from tinygptv.ground.files import canonical
from tinygptv.ground.folders import STATE
from tinygptv.ground.locks import only_one
from tinygptv.tracking import facts, promoted
from tinygptv.tracking.alias_turn import AliasTurn, TurnLostError, alias_turn
from tinygptv.tracking.client import SQLITE, Tracking, tracking_uri
from tinygptv.tracking.registry import (
    CHAMPION,
    DIGEST_TAG,
    PREVIOUS,
    RESTORED_TAG,
    find_version,
    model_tags,
    version_by_alias,
)

FORMER_TAG = "promoted.over"
"""The champion that a version took the place of: where ``previous`` goes when the version is restored."""
ROLLED_BACK_TAGS = ("rolled_back.at", "rolled_back.by")
MOVE_TAG = "aliases.move."
"""Tags of the registered model: each move of its aliases by the number of its turn, until the next one removes it. So
what somebody writes whose turn was taken does not pass for the last move."""


@contextmanager
def only_promotion(root: Path, name: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a registered model; all worktrees of a checkout share it, as they share MLflow's store.

    Args:
        root: the checkout.
        name: the registered model.
        patience: seconds to wait for another one.

    Raises:
        BusyError: another process holds it; the message has its PID.
    """
    uri = tracking_uri(root)
    shared = Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else root
    deadline = time.monotonic() + patience
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(only_one(shared / STATE / "locks" / f"{name}.lock", f"a promotion of {name}"))
                break
            except BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        yield


def make_champion(tracking: Tracking, name: str, version: str, former: str | None) -> None:
    """Move ``champion`` to a version; the former one becomes ``previous``, ``challenger`` stays.

    Args:
        tracking: the store.
        name: the registered model.
        version: the new champion.
        former: the champion that the gate compared it with.

    Raises:
        UserError: the champion is another one by now, or another promotion took the turn.
    """
    with moves(tracking, name) as (mine, _):
        require_champion(tracking, name, former)
        before = version_by_alias(tracking, name, PREVIOUS)
        previous = before if former is None else former
        move = Move(champion=version, previous=previous, former=former, before=before, back=False)
        make(tracking, name, mine, move)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where the aliases go; kept with the model before the first of them moves, so that a kill can be made good."""

    champion: str
    previous: str | None
    former: str | None
    """The champion until now."""
    before: str | None
    """What ``previous`` named until now."""
    back: bool
    """Whether the former champion is left because it is bad, and did not lose against this one."""
    by: str = field(default_factory=facts.user)
    at: str = field(default_factory=facts.now)
    done: bool = False


@contextmanager
def moves(tracking: Tracking, name: str) -> Iterator[tuple[AliasTurn, Move | None]]:
    """The turn to move the aliases, and the move that a kill had left, which is finished by then.

    Raises:
        UserError: another promotion took the turn; the aliases are as that one left them.
    """
    try:
        with alias_turn(tracking, name) as mine:
            yield mine, _finish(tracking, name, mine)
    except TurnLostError:  # its last request may have come after those of who took over
        with alias_turn(tracking, name) as mine:
            _finish(tracking, name, mine)
            _, last = _last(tracking, name)
            if last is not None:
                _point(tracking, name, mine, PREVIOUS, last.previous)
                _point(tracking, name, mine, CHAMPION, last.champion)
        raise


def make(tracking: Tracking, name: str, mine: AliasTurn, move: Move) -> None:
    """Move the aliases.

    Killed anywhere, the next ``moves`` finishes it: from the first request on, the model says where they go. What
    ``champion`` names is complete before and after; it moves last.
    """
    tag = f"{MOVE_TAG}{mine.began}"
    _allow(tracking, name, move)
    _keep(tracking, name, mine, tag, move)
    for former in model_tags(tracking, name):
        if former.startswith(MOVE_TAG) and former != tag:
            mine.do(tracking.mlflow.delete_registered_model_tag, name, former)
    _carry_out(tracking, name, mine, tag, move)


def _carry_out(tracking: Tracking, name: str, mine: AliasTurn, tag: str, move: Move) -> None:
    client = tracking.mlflow
    _point(tracking, name, mine, PREVIOUS, move.previous)
    if move.back and move.former is not None:  # what was rolled back must not come back by itself
        for key, value in zip(ROLLED_BACK_TAGS, (move.at, move.by), strict=True):
            mine.do(client.set_model_version_tag, name, move.former, key, value)
    tags = {"promoted.by": move.by, "promoted.at": move.at}
    tags |= {RESTORED_TAG: move.at} if move.back else {FORMER_TAG: move.former or "none"}
    for key, value in tags.items():
        mine.do(client.set_model_version_tag, name, move.champion, key, value)
    for key in set(ROLLED_BACK_TAGS) & client.get_model_version(name, move.champion).tags.keys():
        mine.do(client.delete_model_version_tag, name, move.champion, key)
    _point(tracking, name, mine, CHAMPION, move.champion)
    if move.back:
        kept = promoted.read(tracking.uri, name) or {}
        promoted.write(tracking.uri, name, {move.champion: kept.get(move.champion)})
    _keep(tracking, name, mine, tag, replace(move, done=True))


def _allow(tracking: Tracking, name: str, move: Move) -> None:
    """Let services follow ``champion``: to the version that it will name, and, until it has moved, to the former one.

    What is known of a package that was champion before stays so, whatever its tags say by now.
    """
    kept = promoted.read(tracking.uri, name) or {}
    if not move.back:
        kept.pop(move.champion, None)  # the gate has just looked at it
    there = [version for version in (move.champion, move.former) if version and _exists(tracking, name, version)]
    tags = {version: find_version(tracking, name, version).tags for version in there}
    promoted.write(tracking.uri, name, {version: kept.get(version, tags[version].get(DIGEST_TAG)) for version in there})


def _finish(tracking: Tracking, name: str, mine: AliasTurn) -> Move | None:
    """Finish what a kill left of a move; None where there is nothing, or it cannot be finished any more."""
    tag, left = _last(tracking, name)
    if left is None or left.done:
        return None
    champion = version_by_alias(tracking, name, CHAMPION)
    if promoted.may_be(tracking.uri, name, left.champion) and champion in (left.former, left.champion):
        if _exists(tracking, name, left.champion):
            _carry_out(tracking, name, mine, tag, left)
            return left
        _point(tracking, name, mine, PREVIOUS, left.before)
    # the version was deleted, or ``champion`` was moved by hand since, or nobody's gate let this move pass
    mine.do(tracking.mlflow.delete_registered_model_tag, name, tag)
    return None


def _point(tracking: Tracking, name: str, mine: AliasTurn, alias: str, version: str | None) -> None:
    """Let an alias name a version; without one, or where it was deleted, nothing."""
    if version is not None and _exists(tracking, name, version):
        mine.do(tracking.mlflow.set_registered_model_alias, name, alias, version)
    elif version_by_alias(tracking, name, alias) is not None:
        mine.do(tracking.mlflow.delete_registered_model_alias, name, alias)


def _last(tracking: Tracking, name: str) -> tuple[str, Move | None]:
    """The last move that the model has on record, after its tag."""
    tags = model_tags(tracking, name)
    tag = max((tag for tag in tags if tag.startswith(MOVE_TAG)), key=lambda tag: (len(tag), tag), default="")
    if not tag:
        return tag, None
    try:
        return tag, Move(**json.loads(tags[tag]))
    except (ValueError, TypeError):
        raise DataError(f"the tag {tag} of {name} in {tracking.uri} is no move of aliases; delete it") from None


def _keep(tracking: Tracking, name: str, mine: AliasTurn, tag: str, move: Move) -> None:
    mine.do(tracking.mlflow.set_registered_model_tag, name, tag, canonical(asdict(move)))


def _exists(tracking: Tracking, name: str, version: str) -> bool:
    try:
        find_version(tracking, name, version)
    except UserError:
        return False
    return True


def require_champion(tracking: Tracking, name: str, expected: str | None) -> None:
    """Refuse to act on an old view of the registry.

    Raises:
        UserError: ``champion`` does not name the version that was looked at.
    """
    found = version_by_alias(tracking, name, CHAMPION)
    if found != expected:
        raise UserError(
            f"the champion of {name} changed meanwhile, from {_named(expected)} to {_named(found)}; "
            "run the command again to compare with that one"
        )


def _named(version: str | None) -> str:
    return "none" if version is None else f"version {version}"

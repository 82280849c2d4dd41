"""The aliases: who may move them, in which order, so that ``champion`` names a complete version at every moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tinygptv.errors import BusyError, UserError
from tinygptv.steps.harness import only_one
from tinygptv.tracking import facts
from tinygptv.tracking.client import SQLITE, Tracking, tracking_uri
from tinygptv.tracking.registry import CHAMPION, PREVIOUS, version_by_alias
from tinygptv.tracking.turn import turn

FORMER_TAG = "promoted.over"
"""The champion that a version took the place of: where ``previous`` goes when the version is restored."""
ROLLED_BACK_TAGS = ("rolled_back.at", "rolled_back.by")


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
                held.enter_context(only_one(shared / ".state" / "locks" / f"{name}.lock", f"a promotion of {name}"))
                break
            except BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        yield


def make_champion(tracking: Tracking, name: str, version: str, former: str | None) -> None:
    """Move ``champion`` to a version; the former one becomes ``previous``, ``challenger`` stays.

    Killed anywhere, it can be done again: ``champion`` moves last, and what it names is complete before and after.

    Args:
        tracking: the store.
        name: the registered model.
        version: the new champion.
        former: the champion that the gate compared it with.

    Raises:
        UserError: the champion is another one by now.
    """
    client = tracking.mlflow
    with turn(tracking, name):
        require_champion(tracking, name, former)
        if former is not None:
            client.set_registered_model_alias(name, PREVIOUS, former)  # first: a kill must not lose it
        tags = {"promoted.by": facts.user(), "promoted.at": facts.now(), FORMER_TAG: former or "none"}
        for key, value in tags.items():  # first, too: a rerun would not add them
            client.set_model_version_tag(name, version, key, value)
        forget_rollback(tracking, name, version)
        client.set_registered_model_alias(name, CHAMPION, version)


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


def forget_rollback(tracking: Tracking, name: str, version: str) -> None:
    """A version that is champion again was rolled back no longer."""
    tags = tracking.mlflow.get_model_version(name, version).tags
    for key in ROLLED_BACK_TAGS:
        if key in tags:
            tracking.mlflow.delete_model_version_tag(name, version, key)


def _named(version: str | None) -> str:
    return "none" if version is None else f"version {version}"

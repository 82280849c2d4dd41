"""``tinygptv data fetch`` and ``data lock``, from what was asked for to what is told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinygptv.fetching.address_lists import fetch_list
from tinygptv.fetching.fetch import fetch_files, lock_of
from tinygptv.fetching.network import Network
from tinygptv.fetching.pinning import pin_files
from tinygptv.fetching.plan import FetchPlan, make_plan, needed_by, render
from tinygptv.fetching.sources import SOURCES, chosen, giving, read_sources
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import require_room
from tinygptv.ground.locks import only_one
from tinygptv.ground.tables import say, some
from tinygptv.ground.worktree import main_of


def fetch(
    root: Path,
    names: tuple[str, ...],
    profile: str | None,
    folder: Path | None,
    *,
    yes: bool,
    network: Network | None = None,
) -> None:
    """Show the plan of entries, and get them.

    Args:
        root: the checkout.
        names: entries of the lock file.
        profile: a profile, all of whose files are got as well.
        folder: has the files; the network is not asked.
        yes: get them.
        network: who may be asked; None: public machines.

    Raises:
        UserError: a name is no entry; a file cannot be got; something is left to be done by hand.
    """
    sources, home = read_sources(root / SOURCES), main_of(root)
    if profile is not None:
        from tinygptv.config.profiles import read_profile

        names = (*names, *needed_by(dict(read_profile(root, profile).config.data), sources))
    plan = make_plan(home, chosen(sources, names), folder)
    say(render(plan))
    if not yes:
        say("\nNothing was fetched; add --yes to go on.")
        return
    fetch_plan(plan, network or Network(), offline=folder is not None)


def fetch_plan(plan: FetchPlan, network: Network, *, offline: bool) -> None:
    """Get what a plan has, as far as it can be got.

    Raises:
        DataError: something is left that nobody has pinned, or that a person has to get.
    """
    fetch_files([one for one in plan.files if one.file.locked], network, offline=offline)
    left = [f"{name} is not pinned (`tinygptv data lock {name}`)" for name in plan.unlocked]
    left += [f"{path} is got by hand" for path in plan.by_hand]
    for name, addresses in plan.pictures.items():
        if offline or not (plan.home / addresses.file).is_file():
            continue  # the list is one of what is left
        require_room(plan.home / addresses.to, plan.picture_bytes(name))
        with only_one(lock_of(plan.home, name), f"fetching {name}"):
            found = fetch_list(plan.home, addresses, network)
        counted = ", ".join(f"{kind}: {count:,}" for kind, count in found.most_common())
        say(f"{name}: {counted}")
    if left:
        raise DataError(f"what could be fetched is there; {some(left)}")
    say("everything is there")


def get_missing(root: Path, paths: Iterable[str]) -> None:
    """Fetch what a step misses, where the lock file says all of it; after the same plan, and into the same places.

    Args:
        root: the checkout.
        paths: what is not there, from the checkout on; what no entry gives is left to whoever misses it.

    Raises:
        DataError: something of it is not pinned, is got by hand, or one by one at the addresses of a list.
        PassingError: an address cannot be reached just now.
        NoSpaceError: the disk has no room for it; nothing was begun.
    """
    sources = read_sources(root / SOURCES)
    needed = {name: sources[name] for path in paths for name in giving(sources, path)}
    if not needed:
        return
    plan, names = make_plan(main_of(root), needed), " ".join(needed)
    if plan.unlocked:
        raise DataError(
            f"files of {some(list(plan.unlocked))} are missing, and nobody has pinned what they must be; run `tinygptv "
            f"data lock {' '.join(plan.unlocked)}`, then `tinygptv data fetch {names} --yes`"
        )
    if plan.by_hand:
        path, how = next(iter(plan.by_hand.items()))
        more = f" (and {len(plan.by_hand) - 1} more: `tinygptv data fetch {names}`)" if len(plan.by_hand) > 1 else ""
        raise DataError(f"{path} is missing: {how}{more}")
    if plan.pictures:
        raise DataError(
            f"pictures of {names} are missing; run `tinygptv data fetch {names}`, which says what they take"
        )
    say(render(plan))
    fetch_files(plan.files, Network(), offline=False)


def pin(root: Path, names: tuple[str, ...], folder: Path | None, network: Network | None = None) -> None:
    """Pin what is not pinned of these entries.

    Raises:
        UserError: a name is no entry.
        DataError: an address has nothing, or another file than is known of it.
        PassingError: it cannot be reached just now.
    """
    sources = read_sources(root / SOURCES)
    asked = chosen(sources, names)
    pinned = pin_files(root, main_of(root), sources, asked, folder, network or Network())
    if pinned:
        say(
            f"{pinned} files are pinned in {SOURCES} as they came, on trust: nobody had said what they must be. "
            "Compare them with what their publishers say if you can, and commit the file"
        )
    else:
        say(f"{', '.join(asked)}: all files are pinned in {SOURCES}")

"""What the step ``register`` does: the package becomes the challenger, and champion if the gate lets it.

Where another version is champion, this is a promotion like any other. Where there is none, or it is this one, there is
nothing to compare with: the package's own numbers suffice, which ``quantize`` has just measured, in the same pipeline.

An experiment's package becomes a version like any other and no more: somebody has to ask for its promotion.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinygptv.config.profiles import Profile
from tinygptv.ground import digests
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import tree_size
from tinygptv.promotion import contest, record
from tinygptv.promotion.aliases import make_champion, moves, only_promotion
from tinygptv.promotion.contest import Examine
from tinygptv.promotion.decide import Decision, on_report
from tinygptv.promotion.promote import consider
from tinygptv.tracking.client import Tracking, reachable
from tinygptv.tracking.registry import (
    CHAMPION,
    add_package,
    aliases_of,
    complete_lineage,
    description_of,
    find_version,
    version_by_alias,
)
from tinygptv.tracking.version_tags import Lineage, start_of

PATIENCE = 1800.0
"""Seconds that the step waits for a promotion that somebody has started."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of a package."""

    name: str
    version: str
    created: bool
    """False where the registry had the same content already."""
    aliases: tuple[str, ...]
    decision: Decision | None
    """None for an experiment, about which nobody has asked the gate."""


def register_package(
    root: Path, folder: Path, profile: Profile, lineage: Lineage, examine: Examine = contest.examine
) -> Registration:
    """Register an 8-bit package as challenger and let the gate decide about champion.

    Doing it again with the same content adds no version.

    Args:
        root: the checkout.
        folder: the package: a Hugging Face folder.
        profile: the profile that made it.
        lineage: where the package comes from.
        examine: how a package is asked, where there is a champion to compare it with.

    Raises:
        UserError: the folder is missing or damaged, or MLflow cannot be reached or refuses.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; run `dvc repro quantize` first")
    digests.check(folder)
    name = profile.config.register_.model_name
    with only_promotion(root, name, PATIENCE), reachable(root) as tracking:
        version, created = add_package(tracking, name, folder, lineage)
        complete_lineage(tracking, lineage)
        if lineage.experiment:
            if not find_version(tracking, name, version).description:
                tracking.mlflow.update_model_version(name, version, description_of(tracking, name, version, lineage))
            return Registration(name, version, created, aliases_of(tracking, name, version), None)
        with moves(tracking, name):
            pass  # what a kill left is finished first
        champion = version_by_alias(tracking, name, CHAMPION)
        if champion in (None, version):
            decision = _alone(tracking, profile, version, champion, folder, lineage)
        else:
            outcome = consider(tracking, profile, version, False, lineage.run_id or None, examine)
            assert outcome.decision is not None, "the champion is another version"
            decision = outcome.decision
        record.describe(tracking, name, version, decision, description_of(tracking, name, version, lineage))
        return Registration(name, version, created, aliases_of(tracking, name, version), decision)


def _alone(
    tracking: Tracking, profile: Profile, version: str, champion: str | None, folder: Path, lineage: Lineage
) -> Decision:
    """Decide by the package's own numbers; a champion stays champion whatever they are."""
    settings = profile.config.register_
    name = settings.model_name
    start = start_of(lineage.unquantized)
    decision = Decision(on_report(lineage.quantized, tree_size(folder), settings.gate, start))
    record.store(tracking, name, version, decision, {"champion": champion})
    if decision.passed and champion is None:
        make_champion(tracking, name, version, None)
    return decision

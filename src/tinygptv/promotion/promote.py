"""A promotion: find the versions, look at the challenger's papers, let both answer, decide, record, move the aliases.

Numbers in tags are compared with what is measured here and never used in its place. Lineage comes from the runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tinygptv.config.profiles import Profile
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.file_names import PACKAGE_FOLDER, PREDICTIONS
from tinygptv.ground.files import sha256_tree
from tinygptv.ground.materials import output
from tinygptv.promotion import contest, record
from tinygptv.promotion.aliases import ROLLED_BACK_TAGS, make_champion, moves, only_promotion, require_champion
from tinygptv.promotion.contest import Examine
from tinygptv.promotion.decide import Decision, not_measured, on_contest
from tinygptv.promotion.overlap import shared_with_training
from tinygptv.promotion.papers import Credentials, on_credentials
from tinygptv.promotion.registered import Registered, registered_numbers
from tinygptv.tracking.chain import Chain
from tinygptv.tracking.client import Tracking, reachable, require_store
from tinygptv.tracking.packages import opened_package
from tinygptv.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    DIGEST_TAG,
    chain_of,
    find_version,
    version_by_alias,
)
from tinygptv.tracking.version_tags import recorded_start, report_of

METRIC = "metric."
WANTED = re.compile(r"\d+|@?[A-Za-z_][\w-]*", re.ASCII)
"""A version's number, or an alias as MLflow allows them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a promotion."""

    name: str
    version: str
    champion: str | None
    """The champion that it was compared with."""
    promoted: bool
    decision: Decision | None
    """None where nothing is to be decided: the version is champion already, or passed before a kill."""
    questions: str | None = None
    """Digest of the questions that both were asked."""

    @property
    def refused(self) -> bool:
        """Whether the gate said no."""
        return self.decision is not None and not self.decision.passed

    def as_json(self) -> dict[str, Any]:
        """The outcome for programs."""
        return {
            "name": self.name,
            "version": self.version,
            "champion": self.champion,
            "promoted": self.promoted,
            "questions_sha256": self.questions,
            "decision": self.decision.as_json() if self.decision is not None else None,
        }

    def line(self) -> str:
        """The outcome in one line."""
        if self.decision is None and not self.promoted:
            return f"{self.name} version {self.version} is the champion already"
        if self.decision is not None and not self.promoted:
            return f"{self.name} version {self.version} was refused: {'; '.join(self.decision.reasons)}"
        former = f"; version {self.champion} is previous" if self.champion is not None else ""
        return f"{self.name} version {self.version} is champion{former}"


def promote(root: Path, profile: Profile, wanted: str | None, examine: Examine = contest.examine) -> Outcome:
    """Make a version champion if the gate lets it.

    Args:
        root: the checkout.
        profile: the profile that the version was made with; its gate decides.
        wanted: number or alias of the version; None: the challenger.
        examine: how a package is asked.

    Raises:
        UserError: no such version, another promotion runs, or something that the contest needs is missing.
    """
    name = profile.config.register_.model_name
    if wanted is not None and not WANTED.fullmatch(wanted):
        raise UserError(f"{wanted!r} is no version; name its number or alias, or nothing for the {CHALLENGER}")
    require_store(root, f"no model {name}")
    with only_promotion(root, name), reachable(root) as tracking:
        with moves(tracking, name) as (_, left):
            pass
        version = version_named(tracking, name, wanted)
        if left is not None and left.champion == version:  # this command again, which was killed
            return Outcome(name, version, left.former, True, None)
        return consider(tracking, profile, version, wanted is not None, None, examine)


def version_named(tracking: Tracking, name: str, wanted: str | None) -> str:
    """The number of a version.

    Raises:
        UserError: there is no such version or alias.
    """
    text = wanted if wanted is not None else CHALLENGER
    if text.isdecimal():
        return str(find_version(tracking, name, text).version)
    found = version_by_alias(tracking, name, text.removeprefix("@"))
    if found is None:
        raise UserError(f"{name} has no version @{text.removeprefix('@')} in {tracking.uri}; `make demo` registers one")
    return found


def consider(
    tracking: Tracking, profile: Profile, version: str, explicit: bool, running: str | None, examine: Examine
) -> Outcome:
    """Decide about a version and act on it; the caller holds the lock.

    Args:
        tracking: the store.
        profile: as of ``promote``.
        version: the version.
        explicit: whether somebody asked for this very version.
        running: the id of the ``register`` run in which this is called.
        examine: how a package is asked.
    """
    name = profile.config.register_.model_name
    champion = version_by_alias(tracking, name, CHAMPION)
    if champion == version:
        return Outcome(name, version, champion, False, None)
    found = find_version(tracking, name, version)
    of = found.tags.get("profile", profile.name)
    if of != profile.name:
        raise UserError(f"{name} version {version} is of the profile {of}; add --profile {of}")
    decision, questions = _judge(tracking, profile, found, champion, explicit, running, examine)
    outcome = Outcome(name, version, champion, decision.passed, decision, questions)
    require_champion(tracking, name, champion)
    record.store(tracking, name, version, decision, {"champion": champion, "questions_sha256": questions})
    if decision.passed:
        make_champion(tracking, name, version, champion)
    record.describe(tracking, name, version, decision)
    return outcome


def own_registered(tags: Mapping[str, str]) -> Registered:
    """The numbers in a version's tags."""
    figures = {key.removeprefix(METRIC): value for key, value in tags.items() if key.startswith(METRIC)}
    return registered_numbers(report_of(tags), figures, recorded_start(tags))


def _judge(
    tracking: Tracking,
    profile: Profile,
    found: Any,
    champion: str | None,
    explicit: bool,
    running: str | None,
    examine: Examine,
) -> tuple[Decision, str | None]:
    """The decision, and the digest of the questions where any were asked."""
    name, version, tags = str(found.name), str(found.version), dict(found.tags)
    chain = chain_of(tracking, name, version, running)
    with ExitStack() as held:
        package, problems = held.enter_context(package_of(tracking, name, version))
        papers = Credentials(
            broken=chain.broken,
            package=problems,
            rolled_back=None if explicit else tags.get(ROLLED_BACK_TAGS[0]),
        )
        rows = on_credentials(papers)
        if package is None or not Decision(rows).passed:
            return Decision(rows), None
        made = outputs_of(chain)
        there = {step: held.enter_context(output(tracking.root, profile.name, step, made[step])) for step in made}
        if sha256_tree(package) != sha256_tree(there["quantize"] / PACKAGE_FOLDER):
            problems = ("its files are not those that its run of quantize made",)
        exam = contest.exam_of(tracking.root, profile, there["shards"])
        rows = on_credentials(replace(papers, package=problems, shared=shared_with_training(exam)))
        if not Decision(rows).passed:
            return Decision(rows), None
        asked = contest.asked(exam)
        unquantized = there["evaluate"] / PREDICTIONS
        former, former_tags = None, {}
        if champion is not None:
            with package_of(tracking, name, champion) as (other, other_problems):
                if other is None or other_problems:
                    why = (
                        f"version {champion} is damaged: {'; '.join(other_problems)}; delete its alias to start afresh"
                    )
                    return Decision((*rows, not_measured("champion", why))), asked.digest
                former_tags = dict(find_version(tracking, name, champion).tags)
                former = contest.judge(exam, examine(replace(exam, asker="champion"), other), other, None)
        challenger = contest.judge(exam, examine(exam, package), package, unquantized)
    gate = profile.config.register_.gate
    judged = on_contest(asked, challenger, former, own_registered(tags), own_registered(former_tags), gate)
    return Decision((*rows, *judged)), asked.digest


@contextmanager
def package_of(tracking: Tracking, name: str, version: str) -> Iterator[tuple[Path | None, tuple[str, ...]]]:
    """The package's folder for the block, and in what it is not what was registered.

    Raises:
        UserError: the store or this machine does not let it be read, which says nothing about the package.
    """
    tags = find_version(tracking, name, version).tags
    with ExitStack() as held:
        try:
            folder = held.enter_context(opened_package(f"models:/{name}/{version}", tracking.root))
        except DataError as error:
            yield None, (f"it cannot be read: {error}",)
            return
        digest = sha256_tree(folder)
        right = digest == tags.get(DIGEST_TAG)
        told = f"its sha256 is {digest[:12]}, registered was {str(tags.get(DIGEST_TAG))[:12]}"
        yield folder, () if right else (told,)


def outputs_of(chain: Chain) -> dict[str, str]:
    """Step → DVC digest of what the version was made of and measured with, by its lineage.

    Raises:
        DataError: the lineage does not name one of them.
    """
    found = {link.step: link.md5 for link in chain.links}
    missing = [step for step in ("shards", "evaluate", "quantize") if found.get(step) is None]
    if missing:
        raise DataError(f"{chain.subject}: its lineage names no output of {missing[0]}; see `tinygptv lineage`")
    return {step: str(found[step]) for step in ("shards", "evaluate", "quantize")}

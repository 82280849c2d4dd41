"""The champion asked again: does the version that is in use still reach what its gate demands?

Its package, the machine and the limits may have changed since it was promoted. Nothing is moved; the numbers go into
an MLflow run, so that they can be followed over time.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tinygptv.config.profiles import Profile
from tinygptv.ground.errors import UserError
from tinygptv.ground.file_names import GATE, GATE_TABLE, PREDICTIONS
from tinygptv.ground.materials import output
from tinygptv.promotion import contest
from tinygptv.promotion.contest import Examine
from tinygptv.promotion.decide import Check, Decision, on_contest
from tinygptv.promotion.overlap import shared_with_training
from tinygptv.promotion.papers import Credentials, on_credentials
from tinygptv.promotion.promote import outputs_of, own_registered, package_of
from tinygptv.promotion.record import markdown
from tinygptv.promotion.registered import Registered
from tinygptv.tracking.client import Tracking, reachable, require_store
from tinygptv.tracking.registry import CHAMPION, chain_of, find_version, version_by_alias

RUN_NAME = "evaluate-champion"


@dataclass(frozen=True, slots=True)
class Examination:
    """How the champion did."""

    name: str
    version: str
    decision: Decision
    url: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        decision = self.decision.as_json()
        return {"name": self.name, "version": self.version, "decision": decision, "url": self.url}

    def line(self) -> str:
        """In one line."""
        said = "reaches every limit" if self.decision.passed else f"fails: {'; '.join(self.decision.reasons)}"
        return f"{self.name} version {self.version} (champion) {said}; {self.url}"


def evaluate_champion(root: Path, profile: Profile, examine: Examine = contest.examine) -> Examination:
    """Let the champion answer its test set and compare it with the limits of the configuration.

    Args:
        root: the checkout.
        profile: the profile whose model it is.
        examine: how a package is asked.

    Raises:
        UserError: there is no champion, or something that is needed is missing.
    """
    name = profile.config.register_.model_name
    require_store(root, f"no model {name}")
    with reachable(root) as tracking:
        version = version_by_alias(tracking, name, CHAMPION)
        if version is None:
            raise UserError(f"{name} has no champion in {tracking.uri}; `tinygptv promote` makes one")
        decision = Decision(_examine(tracking, profile, version, examine))
        return Examination(name, version, decision, _record(tracking, profile, version, decision))


def _examine(tracking: Tracking, profile: Profile, version: str, examine: Examine) -> tuple[Check, ...]:
    name = profile.config.register_.model_name
    chain = chain_of(tracking, name, version)
    with ExitStack() as held:
        package, problems = held.enter_context(package_of(tracking, name, version))
        rows = on_credentials(Credentials(broken=chain.broken, package=problems))
        if package is None or not Decision(rows).passed:
            return rows
        made = outputs_of(chain)
        shards, evaluated = (
            held.enter_context(output(tracking.root, profile.name, step, made[step])) for step in ("shards", "evaluate")
        )
        exam = replace(contest.exam_of(tracking.root, profile, shards), asker="champion")
        shared = shared_with_training(exam)
        rows = on_credentials(Credentials(broken=chain.broken, package=problems, shared=shared))
        measured = contest.judge(exam, examine(exam, package), package, evaluated / PREDICTIONS)
    registered = own_registered(find_version(tracking, name, version).tags)
    gate = profile.config.register_.gate
    return (*rows, *on_contest(contest.asked(exam), measured, None, registered, Registered(), gate))


def _record(tracking: Tracking, profile: Profile, version: str, decision: Decision) -> str:
    """An MLflow run with the numbers; returns its address."""
    client, experiment = tracking.mlflow, tracking.experiment(profile.name)
    tags = {
        "profile": profile.name,
        "model.version": f"{profile.config.register_.model_name}/{version}",
        "gate.passed": str(decision.passed).lower(),
        "gate.reasons": "; ".join(decision.reasons) or "none",
    }
    flow_run = os.environ.get("PREFECT_FLOW_RUN_ID")
    if flow_run:
        tags["prefect.flow_run_id"] = flow_run
    run = str(client.create_run(experiment, run_name=RUN_NAME, tags=tags).info.run_id)
    for row in decision.rows:
        if row.value is not None:
            client.log_metric(run, row.check.replace(" ", "_"), row.value)
    client.log_dict(run, decision.as_json(), GATE)
    client.log_text(run, f"{markdown(decision)}\n", GATE_TABLE)
    client.set_terminated(run, "FINISHED")
    return tracking.url(experiment, run)

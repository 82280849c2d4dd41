"""Where a model comes from: the runs from a registered version, or from one step's output, back to the downloaded data.

Read from MLflow alone. A step's run is found by what it made: the tags ``step`` and ``dvc.md5``. What it read is in its
tags ``dvc.input.<step>``. ``register`` makes no files; its run is found from the version. What is missing or does not
fit stays in the chain, in its place, as a problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinygptv.ground.dvc import DIR
from tinygptv.ground.names import STEPS
from tinygptv.tracking import facts
from tinygptv.tracking.chain import Chain, Link, Start, Version, version_of
from tinygptv.tracking.version_tags import PACKAGE_STEP, outputs_of

MD5 = re.compile(rf"[0-9a-f]{{32}}({re.escape(DIR)})?")
REGISTER = STEPS[-1]
INPUT_TAG = "dvc.input."

Graph = Mapping[str, Sequence[str]]
"""Step → the steps whose outputs it reads; for runs that do not say it themselves."""


def walk(client: Any, graph: Graph, start: Start, running: str | None = None) -> Chain:
    """Follow a chain to its end.

    Args:
        client: ``mlflow.MlflowClient``.
        graph: what each step reads, where its run does not say so.
        start: where to begin.
        running: the id of the ``register`` run in which this is called: that it has not ended is no problem.

    Returns:
        The chain; problems and missing links are part of it.
    """
    return _Walk(client, graph, running).chain(start)


@dataclass(slots=True)
class _Demand:
    """Who read an output, and when it must have been there."""

    users: list[str]
    before: int | None = None
    whole: bool = False
    """Whether anybody depends on all of it; who depends on a view has read one of several that have that view."""

    def add(self, user: str, time: int | None, *, whole: bool) -> None:
        self.users.append(user)
        self.whole |= whole
        self.before = min((value for value in (self.before, time) if value is not None), default=None)


class _Walk:
    def __init__(self, client: Any, graph: Graph, running: str | None) -> None:
        self._client = client
        self._graph = graph
        self._running = running
        self._experiments = [str(experiment.experiment_id) for experiment in every(client.search_experiments)]
        self._demands: dict[str, dict[str | None, _Demand]] = {}

    def chain(self, start: Start) -> Chain:
        version: Version | None = None
        links: list[Link] = []
        if start.version is not None:
            found = self._client.get_model_version(*start.version)
            version = version_of(found)
            for step, md5 in _pinned(found.tags):
                self._demand(step, md5, "the version", None)
            links.append(self._registration(found))
        elif start.run_id is not None:
            run = self._run(start.run_id)
            links.append(self._link(start.step or "?", run, start.run_id, made=start.md5))
        elif start.step is not None:
            self._demand(start.step, start.md5, start.subject, None)
        for step in reversed(STEPS):  # whoever reads an output comes later in the pipeline: all demands are known
            links += self._links(step)
        links[0] = replace(links[0], problems=(*start.problems, *links[0].problems))
        return Chain(subject=start.subject, version=version, links=tuple(links))

    def _links(self, step: str) -> Iterator[Link]:
        """A step's links: one, unless parts of the chain have read different outputs of it."""
        demands = self._demands.pop(step, {})
        known = {md5: demand for md5, demand in demands.items() if md5 is not None}
        whole = {md5: demand for md5, demand in known.items() if demand.whole}
        if demands and not known:
            yield self._without_run(step, None, "no digest of its output is on record")
        for md5, demand in known.items():
            others = [f"{value} by {_names(other.users)}" for value, other in whole.items() if value != md5]
            link = self._made(step, md5, demand)
            clash = f"this output of {step} is named by {_names(demand.users)}, but {' and '.join(others)}"
            yield replace(link, problems=(*link.problems, clash)) if others and demand.whole else link

    def _made(self, step: str, md5: str, demand: _Demand) -> Link:
        """The link of an output, by the newest run that fits."""
        runs = self._search(f"tags.`dvc.md5` = '{md5}' and tags.step = '{step}'")
        finished = [run for run in runs if run.info.status == "FINISHED"]
        if finished:
            # Runs of the same bytes may have read other inputs, and reruns may be newer than what was made of them.
            best = max(finished, key=lambda run: (self._agrees(step, run), _early(run, demand), run.info.end_time or 0))
            return replace(self._link(step, best, best.info.run_id, made=md5), runs=len(finished))
        if runs:
            return self._link(step, runs[0], runs[0].info.run_id, made=md5)
        return self._without_run(step, md5, "no run made this output")

    def _agrees(self, step: str, run: Any) -> bool:
        """Whether the rest of the chain has read the same outputs as this run."""
        wanted = {name: self._demands.get(name, {}).keys() - {None} for name in STEPS}
        return all(not wanted[name] or md5 in wanted[name] for name, md5 in _inputs(step, run).items())

    def _registration(self, version: Any) -> Link:
        """The version's own run, or the later one that gave the same package the digests that it carries now."""
        ids = [identifier for identifier in (version.run_id, self._running) if identifier]
        runs = [run for run in map(self._run, ids) if run is not None]
        address = f"{version.name}/{version.version}"
        runs += self._search(f"tags.step = '{REGISTER}' and tags.`model.version` = '{address}'")
        if not runs:
            gone = f"its run {version.run_id} does not exist" if version.run_id else "no run registered this version"
            return self._without_run(REGISTER, None, gone)
        wanted = version.tags.get("dvc.md5")
        best = max(runs, key=lambda run: (_inputs(REGISTER, run).get(PACKAGE_STEP) == wanted, self._ended(run)))
        return self._link(REGISTER, best, best.info.run_id)  # of equally good ones, max takes the first

    def _without_run(self, step: str, md5: str | None, problem: str) -> Link:
        for name in self._graph.get(step, ()):
            self._demand(name, None, step, None)
        return Link(step=step, md5=md5, problems=(problem,))

    def _link(self, step: str, run: Any, run_id: str, made: str | None = None) -> Link:
        """What a run says; its inputs are then in demand."""
        if run is None:
            return self._without_run(step, made, f"the run {run_id} does not exist")
        tags = run.data.tags
        problems: list[str] = []
        inputs = _inputs(step, run)
        recorded, viewed = tags.get(facts.INPUTS_TAG), tags.get(facts.VIEWED_TAG, "").split(",")
        for name in self._graph.get(step, ()) if recorded is None else filter(None, recorded.split(",")):
            self._demand(name, inputs.get(name), step, run.info.start_time, whole=name not in viewed)
            if name not in inputs:
                problems.append(f"its run names no digest of the {name} that it read")
        for name in inputs:
            self._demand(name, inputs[name], step, run.info.start_time, whole=name not in viewed)
        if not self._ended(run):
            problems.append(f"its run did not finish: {run.info.status}")
        if run.info.lifecycle_stage != "active":
            problems.append("its run was deleted")
        if step != REGISTER and (made or tags.get("dvc.md5")) is None:
            problems.append("its run names no digest of what it made")
        if tags.get("git.sha", "none") == "none":
            problems.append("its run names no commit")
        environment, wrong = _environment(tags)
        ended = run.info.end_time if run.info.status != "RUNNING" else None
        return Link(
            step=step,
            md5=made or tags.get("dvc.md5"),
            run_id=run_id,
            status=run.info.status,
            finished_at=facts.iso(ended / 1000) if ended else None,
            git_sha=tags.get("git.sha"),
            git_dirty={"true": True, "false": False}.get(tags.get("git.dirty")),
            config_sha256=tags.get(facts.CONFIG_TAG),
            environment=environment,
            environment_sha256=tags.get(facts.ENVIRONMENT_DIGEST_TAG),
            flow_run_id=tags.get("prefect.flow_run_id"),
            user=tags.get(facts.USER_TAG),
            inputs={name: inputs[name] for name in STEPS if name in inputs},
            problems=(*problems, *wrong),
        )

    def _ended(self, run: Any) -> bool:
        """Whether a run ended well, or is the one that asks."""
        return run.info.status == "FINISHED" or run.info.run_id == self._running

    def _demand(self, step: str, md5: str | None, user: str, time: int | None, *, whole: bool = True) -> None:
        demand = self._demands.setdefault(step, {}).setdefault(md5, _Demand([]))
        if user not in demand.users:
            demand.add(user, time, whole=whole)

    def _run(self, run_id: str) -> Any | None:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _search(self, query: str) -> list[Any]:
        return search(self._client, self._experiments, query)


def search(client: Any, experiments: Sequence[str], query: str) -> list[Any]:
    """All runs of a query, the one that ended last first."""
    order = ["attributes.end_time DESC", "attributes.start_time DESC"]
    return list(every(lambda **page: client.search_runs(list(experiments), query, order_by=order, **page)))


def every(ask: Any) -> Iterator[Any]:
    """All pages of a search of MLflow."""
    token = None
    while True:
        page = ask(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _pinned(tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The outputs that a version names."""
    named = [(PACKAGE_STEP, tags.get("dvc.md5")), *outputs_of(tags).items()]
    yield from ((step, md5) for step, md5 in named if step in STEPS and md5 and MD5.fullmatch(md5))


def _inputs(step: str, run: Any) -> dict[str, str]:
    """The digests of what a run read, of steps before its own."""
    tags = run.data.tags
    earlier = STEPS[: STEPS.index(step)] if step in STEPS else ()
    found = {name: tags.get(f"{INPUT_TAG}{name}", "") for name in earlier}
    return {name: md5 for name, md5 in found.items() if MD5.fullmatch(md5)}


def _environment(tags: Mapping[str, str]) -> tuple[Mapping[str, Any] | None, list[str]]:
    """The recorded environment, and whether it is what its digest says."""
    text, digest = tags.get(facts.ENVIRONMENT_TAG), tags.get(facts.ENVIRONMENT_DIGEST_TAG)
    try:
        found = json.loads(text) if text is not None else None
    except json.JSONDecodeError:
        return None, ["its environment is not JSON"]
    if found is not None and (not isinstance(found, dict) or facts.digest(found) != digest):
        return (found if isinstance(found, dict) else None), ["its environment does not have the digest beside it"]
    return found, []


def _early(run: Any, demand: _Demand) -> bool:
    return demand.before is None or (run.info.end_time or 0) <= demand.before


def _names(users: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(users[:-1]), users[-1]]))

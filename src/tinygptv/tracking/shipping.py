"""Spools on their way into MLflow. Everything may be done twice: a second shipment adds nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tinygptv.ground.errors import DataError, brief, complain
from tinygptv.ground.files import tree_size
from tinygptv.ground.folders import STATE
from tinygptv.tracking import facts, shelf
from tinygptv.tracking import spool as spools
from tinygptv.tracking.client import SPOOL_TAG, Tracking
from tinygptv.tracking.spool import Event
from tinygptv.tracking.transfers import time_for

if TYPE_CHECKING:
    from tinygptv.tracking.spool import Header

METRICS_OF_A_REQUEST = 1000  # MLflow's limits
PARAMS_OF_A_REQUEST = 100
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""MLflow's codes for records that it will never take, however often they are sent."""

T = TypeVar("T")


class Shipment:
    """One spool's way into its run; call ``advance`` as often as wanted."""

    def __init__(self, path: Path, header: Header, tracking: Tracking) -> None:
        self._path = path
        self.tracking = tracking
        self._offset = spools.shipped_until(path)
        self._experiment = tracking.experiment(header.profile)
        self._header = header
        tags = {
            **self._tags(header.pipeline, header.flow_run, header.git_sha),
            **facts.source(f"tinygptv.steps {header.step}", header.git_sha),
            "step": header.step,
        }
        self.run_id = tracking.run_once(self._experiment, SPOOL_TAG, header.spool, header.step, tags, header.started)

    @property
    def url(self) -> str:
        """Where the run can be looked at."""
        return self.tracking.url(self._experiment, self.run_id)

    def advance(self) -> bool:
        """Ship what was written since the last call.

        Returns:
            Whether the run's end was shipped.
        """
        events, offset = spools.read_events(self._path, self._offset)
        self._values(events)
        for event in events:
            self._others(event)
        status = spools.last_status(events)
        if status is not None:
            self.end(status, events[-1]["time"])
        self._offset = offset
        return status is not None

    def end(self, status: str, time: int) -> None:
        """Close the run."""
        self.tracking.mlflow.set_terminated(self.run_id, status, time)

    def _tags(self, pipeline: str | None, flow_run: str | None, git_sha: str) -> dict[str, str]:
        """What says where an attempt belongs; the run of its pipeline is made where it is missing."""
        tags = {"profile": self._header.profile, "git.sha": git_sha}
        if flow_run:
            tags["prefect.flow_run_id"] = flow_run
        if pipeline:
            parent = self.tracking.pipeline(self._experiment, pipeline, tags, self._header.started)
            tags["mlflow.parentRunId"] = parent
        return tags

    def _attempt(self, event: Event) -> None:
        """The run goes on, below the pipeline of the new attempt."""
        client = self.tracking.mlflow
        client.update_run(self.run_id, status="RUNNING")
        for name, value in self._tags(event["pipeline"], event["flow_run"], event["git_sha"]).items():
            client.set_tag(self.run_id, name, value)

    def _values(self, events: Sequence[Event]) -> None:
        """Metrics, parameters and tags, many in a request."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(e["name"], float(e["value"]), e["time"], e["step"]) for e in events if e["kind"] == "metric"]
        params = [Param(e["name"], e["value"][:LONGEST_PARAM]) for e in events if e["kind"] == "param"]
        tags = [RunTag(e["name"], e["value"][:LONGEST_TAG]) for e in events if e["kind"] == "tag"]
        for part in _parts(metrics, METRICS_OF_A_REQUEST):
            self._send(part, lambda some: self.tracking.mlflow.log_batch(self.run_id, metrics=some))
        for part in _parts(params, PARAMS_OF_A_REQUEST):
            self._send(part, lambda some: self.tracking.mlflow.log_batch(self.run_id, params=some))
        for part in _parts(tags, PARAMS_OF_A_REQUEST):
            self._send(part, lambda some: self.tracking.mlflow.log_batch(self.run_id, tags=some))

    def _others(self, event: Event) -> None:
        """Files, data sets and new attempts, one by one."""
        client = self.tracking.mlflow
        if event["kind"] == "artifact":
            path = spools.files_of(self._path) / event["path"]
            folder = event["folder"] or None
            if path.is_dir():
                target = f"{folder}/{path.name}" if folder else path.name
                with time_for(tree_size(path)):
                    self._send([path], lambda _: client.log_artifacts(self.run_id, str(path), target))
            else:
                with time_for(path.stat().st_size):
                    self._send([path], lambda _: client.log_artifact(self.run_id, str(path), folder))
        elif event["kind"] == "dataset":
            from mlflow.entities import Dataset, DatasetInput, InputTag

            source = json.dumps({"uri": event["path"]})
            profile = json.dumps(event.get("profile", {}))  # spools of the released version have none
            dataset = Dataset(event["name"], event["md5"], "local", source, profile=profile)
            tags = [InputTag("mlflow.data.context", event["context"]), InputTag("dvc.md5", event["md5"])]
            self._send([dataset], lambda _: client.log_inputs(self.run_id, [DatasetInput(dataset, tags)]))
        elif event["kind"] == "attempt":
            self._attempt(event)

    def _send(self, records: Sequence[T], send: Any) -> None:
        """Send records together; of those that MLflow will never take, send the others and name them."""
        from mlflow.exceptions import MlflowException

        try:
            send(records)
        except MlflowException as error:
            if error.error_code not in REFUSED:
                raise
            if len(records) > 1:
                for record in records:
                    self._send([record], send)
                return
            what = f"MLflow refuses {_name(records[0])} of run {self.run_id}"
            complain("tracking", f"{what}: {brief(error, 300)}")


def ship_leftover(path: Path, tracking: Tracking) -> bool:
    """Ship a spool whose writer is gone; without an end in it, the writer was killed.

    Returns:
        Whether it was shipped and put away; False where another process holds it.
    """
    with shelf.claim(path) as mine:
        if not mine:
            return False
        header = spools.read_header(path)
        if header is None and b"\n" in path.read_bytes():
            raise DataError(f"its header is not of this version; ship it with the one that wrote it, or remove {path}")
        if header is not None:
            shipment = Shipment(path, header, tracking)
            if not shipment.advance():
                shipment.end("KILLED", path.stat().st_mtime_ns // 1_000_000)
        shelf.conclude(path)
        return True


def ship_leftovers(folder: Path, tracking: Tracking, seconds: float) -> None:
    """Ship the spools that earlier steps had to leave, for some seconds; the rest waits for the next step."""
    until = time.monotonic() + seconds
    for path in shelf.waiting(folder):
        if time.monotonic() > until:
            return
        try:
            ship_leftover(path, tracking)
        except Exception as problem:
            complain("tracking", f"{path} could not be shipped yet ({brief(problem)})")


def ship_all(root: Path, tracking: Tracking) -> tuple[int, int]:
    """Ship every spool of the checkout.

    Returns:
        How many were shipped, and how many belong to steps that still run.
    """
    paths = [path for folder in sorted(root.glob(f"{STATE}/*/spool")) for path in shelf.waiting(folder)]
    shipped = sum(ship_leftover(path, tracking) for path in paths)
    return shipped, len(paths) - shipped


def _parts(records: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


def _name(record: Any) -> str:
    return f"{type(record).__name__.lower()} {getattr(record, 'key', None) or getattr(record, 'name', record)}"

"""A step's MLflow run. Calls only write to the spool; a thread imports MLflow and ships. Nobody waits but the end."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tinygptv.config.profiles import Profile
from tinygptv.ground.errors import LostProcessError, brief, complain
from tinygptv.ground.file_names import DVC_YAML, PARAMS
from tinygptv.ground.graph import code_digests, entry_of, input_digests, taken_by_dvc
from tinygptv.ground.processes import Interrupted
from tinygptv.tracking import facts, shelf
from tinygptv.tracking import spool as spools
from tinygptv.tracking.machine import Machine
from tinygptv.tracking.spool import Spool, flatten

if TYPE_CHECKING:
    from tinygptv.tracking.shipping import Shipment

SECONDS_BEFORE_IMPORT = 5.0
"""Two threads that import at once slow each other more than one after the other; the step's imports go first."""
SECONDS_BETWEEN_SHIPMENTS = 2.0
LONGEST_WAIT = 30.0
LONGEST_TIME_FOR_LEFTOVERS = 5.0
LONGEST_WAIT_WHEN_STOPPED = 5.0  # whoever stops a step may kill it soon
WHAT_DECIDES_RESULTS = ("src", "configs", PARAMS, DVC_YAML, "scripts", "pyproject.toml", "constraints.txt")


class StepRun:
    """The run of one step: named as the step, below its pipeline's run where a flow runs it."""

    def __init__(self, *, step: str, profile: Profile, root: Path, spool_folder: Path) -> None:
        self._step = step
        self._profile = profile
        self._root = root
        self._folder = spool_folder
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._tried = threading.Event()
        self._done = threading.Event()
        self._problem: Exception | None = None
        self._shipment: Shipment | None = None
        self._spool: Spool | None = None

    def __enter__(self) -> Self:
        sha, dirty = git_state(self._root)
        stage = entry_of(self._root, self._step)
        inputs = input_digests(self._root, self._profile.name, self._step)
        settings = step_params(self._profile, self._step, stage)
        self._spool = self._open_spool(
            facts.digest([settings, inputs, code_digests(self._root, self._step)]),
            pipeline=os.environ.get("TINYGPTV_PIPELINE_ID") or None,
            flow_run=os.environ.get("PREFECT_FLOW_RUN_ID") or None,
            git_sha=sha,
        )
        threading.Thread(target=self._ship, name="mlflow", daemon=True).start()
        self.tags({"git.dirty": str(dirty).lower()})
        self.tags(input_tags(inputs))
        self.tags(facts.at_start(settings, stage))
        self.params(settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._spool is not None
        stopped = isinstance(error, Interrupted | KeyboardInterrupt | LostProcessError)
        status = "FINISHED" if error is None else "KILLED" if stopped else "FAILED"
        if error is not None:
            self.tags({"error": f"{type(error).__name__}: {error}"})
        self.tags(facts.at_end())
        self._spool.append("status", value=status)
        self._closing.set()
        self._wanted.set()
        try:
            self._done.wait(LONGEST_WAIT_WHEN_STOPPED if stopped else LONGEST_WAIT)
        finally:
            if not self._done.is_set() or self._problem is not None:
                complain("tracking", self._complaint())
            self._spool.close()

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, at a step of the curve or once."""
        for name, value in values.items():
            self._append("metric", name=name, value=float(value), step=step or 0)

    def params(self, values: Mapping[str, object]) -> None:
        """Record settings; nested ones become ``a.b.c``. MLflow keeps the first value of a name."""
        for name, value in flatten(values).items():
            self._append("param", name=name, value=value)

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts; the last value of a name counts."""
        for name, value in values.items():
            self._append("tag", name=name, value=str(value))

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a file or folder as it is now; it may be moved or removed right after the call."""
        assert self._spool is not None
        self._append("artifact", path=self._spool.keep_file(path), folder=folder)

    def dataset(self, name: str, path: Path, md5: str, context: str, profile: Mapping[str, int]) -> None:
        """Record an input by its DVC digest, what it was used for, such as ``train``, and how much is in it."""
        where = path.relative_to(self._root) if path.is_relative_to(self._root) else path
        self._append("dataset", name=name, path=where.as_posix(), md5=md5, context=context, profile=dict(profile))

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty until the thread has created it, and where MLflow cannot be reached."""
        return self._shipment.run_id if self._shipment is not None else ""

    def wait_for_id(self) -> str:
        """The run's id for a step that needs MLflow itself; empty where MLflow cannot be reached."""
        self._wanted.set()
        self._tried.wait(LONGEST_WAIT)
        return self.run_id

    @property
    def url(self) -> str:
        """Where the run can be looked at; empty as long as ``run_id`` is."""
        return self._shipment.url if self._shipment is not None else ""

    def _open_spool(self, work: str, **attempt: str | None) -> Spool:
        """The spool of an earlier attempt at the same work that came to nothing, or else a new one."""
        shelf.remove_unborn(self._folder, self._step)
        earlier = shelf.earlier_spools(self._folder, self._step, work, (None, "KILLED"))
        ended = shelf.earlier_spools(self._folder, self._step, work, ("FINISHED",))
        earlier += [path for path in ended if self._was_lost(path, work)]  # killed between its end and the shipment
        done = shelf.done_spool(self._folder, self._step)
        if not earlier and self._was_lost(done, work):
            earlier = [shelf.bring_back(done)]
        for path in earlier:
            spool = Spool.reopen(path, **attempt)
            if spool is not None:
                return spool
        return Spool.create(self._folder, step=self._step, profile=self._profile.name, work=work, **attempt)

    def _was_lost(self, done: Path, work: str) -> bool:
        """Whether the step ended well with the same work, and a kill kept DVC from taking the result."""
        header = spools.read_header(done) if done.is_file() else None
        if header is None or header.work != work:
            return False
        tags = [event for event in spools.read_events(done)[0] if event["kind"] == "tag" and event["name"] == "dvc.md5"]
        md5 = tags[-1]["value"] if tags else None
        return not taken_by_dvc(self._root, self._profile.name, self._step, md5)

    def _append(self, kind: spools.Kind, **fields: Any) -> None:
        assert self._spool is not None, "a run records between enter and exit"
        self._spool.append(kind, **fields)

    def _ship(self) -> None:
        """The thread: ship until the end is shipped, or the step is over and MLflow cannot be reached."""
        assert self._spool is not None
        self._wanted.wait(SECONDS_BEFORE_IMPORT)
        machine = Machine()
        while True:
            closing = self._closing.is_set()
            try:
                if not closing:
                    for name, value in machine.sample().items():
                        self._append("metric", name=name, value=value, step=self._spool.age)
                if self._advance():
                    break
            except Exception as problem:
                self._problem = problem  # told at the end, if the next attempts fail too
                if closing:
                    break
            self._tried.set()
            self._closing.wait(SECONDS_BETWEEN_SHIPMENTS)
        self._tried.set()
        self._done.set()

    def _advance(self) -> bool:
        """Ship what is new; once the end is shipped, also what earlier steps had to leave."""
        assert self._spool is not None
        from tinygptv.tracking.client import Tracking
        from tinygptv.tracking.shipping import Shipment, ship_leftovers

        if self._shipment is None:
            self._shipment = Shipment(self._spool.path, self._spool.header, Tracking.connect(self._root))
        ended = self._shipment.advance()
        self._problem = None
        if ended:
            shelf.conclude(self._spool.path)
            ship_leftovers(self._folder, self._shipment.tracking, LONGEST_TIME_FOR_LEFTOVERS)
        return ended

    def _complaint(self) -> str:
        from tinygptv.tracking.client import tracking_uri

        assert self._spool is not None
        reason = brief(self._problem or "no answer in time")
        return (
            f"{tracking_uri(self._root)} did not take the records ({reason}); they are kept in "
            f"{self._spool.path} and shipped by the next step or by `python -m tinygptv.tracking ship`"
        )


class UnrecordedRun(StepRun):
    """The run of a process that shares a step with the one that records it: what it is told goes nowhere."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def artifact(self, path: Path, folder: str = "") -> None:
        """Nothing."""

    def _append(self, kind: spools.Kind, **fields: Any) -> None:
        pass


def git_state(root: Path) -> tuple[str, bool]:
    """The commit, and whether code, configuration or graph differ from it.

    Outside of git, or before the first commit, the commit is ``none`` and everything differs.
    """
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return "none", True
    present = [name for name in WHAT_DECIDES_RESULTS if (root / name).exists()]
    return head.strip(), bool(_git(root, "status", "--porcelain", "--", *present))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None
    return done.stdout


def input_tags(inputs: Mapping[str, str]) -> dict[str, str]:
    """Tags with the DVC digests of the step's inputs; ``dvc.parent_md5`` is that of the latest step among them."""
    tags = {f"dvc.input.{step}": digest for step, digest in inputs.items()}
    return tags | ({"dvc.parent_md5": list(inputs.values())[-1]} if inputs else {})


def step_params(profile: Profile, step: str, stage: Mapping[str, Any]) -> dict[str, object]:
    """The seed, the step's own section, and the keys that ``dvc.yaml`` lets it depend on besides."""
    keys = {step}
    for entry in stage.get("params", ()):
        if isinstance(entry, Mapping):
            keys.update(str(key) for listed in entry.values() for key in listed or ())
    settings = profile.config.model_dump(by_alias=True, mode="json")
    found = {key: _at(settings, key) for key in sorted(keys)}
    return {"seed": profile.seed, **{key: value for key, value in found.items() if value is not None}}


def _at(settings: Mapping[str, Any], key: str) -> Any:
    """The value of ``a.b.c``; None where the profile lacks it."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value

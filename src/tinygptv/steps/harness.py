"""What every step has in common: one at a time, stoppable, all or nothing, and recorded.

A step module offers ``run(context)``. It reads its inputs, writes below ``context.out`` and ``context.report(...)``,
and the harness moves both into place only when the step has ended well. One that DVC calls each time also offers
``same_as_before(context)``: where that is so, there is nothing to record and nothing to move. Stages may be shared by
processes that torchrun started: the main one alone holds the lock, writes, moves and records.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config.profiles import Profile, read_profile
from tinygptv.ground.dvc import dvc_md5, lock_md5
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.file_names import MANIFEST, SUMMARY
from tinygptv.ground.files import read_json, replace_folder, require_room, tree_size, write_json
from tinygptv.ground.folders import data_folder, find_root, record_file, reports_folder, state_folder
from tinygptv.ground.graph import code_digests
from tinygptv.ground.locks import only_one
from tinygptv.ground.signals import StopRequest
from tinygptv.ground.workers import ALONE, Workers

if TYPE_CHECKING:
    from tinygptv.config import Config
    from tinygptv.tracking.runs import StepRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a step is given."""

    step: str
    profile: Profile
    root: Path
    run: StepRun
    """The step's MLflow run: metrics, parameters and artifacts go through it."""
    stop: StopRequest
    """Says when the user or the system asked the step to end."""
    staging: Path
    """Where outputs are written until the step ends well."""
    allowed_changes: tuple[str, ...] = ()
    """Keys in which a resume point may differ from this run."""
    workers: Workers = ALONE
    """The processes that share the step."""
    used: set[Path] = field(default_factory=set)
    """Inputs that are on record already."""

    @property
    def config(self) -> Config:
        """The checked profile."""
        return self.profile.config

    @property
    def seed(self) -> int:
        """The seed of the pipeline, from ``params.yaml``."""
        return self.profile.seed

    @property
    def out(self) -> Path:
        """The folder that becomes ``data/<profile>/<step>`` when the step ends well."""
        folder = self.staging / "data"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def published(self) -> Path:
        """That folder as it is now, if it is there: the step's result so far."""
        return data_folder(self.root, self.profile.name) / self.step

    @property
    def state(self) -> Path:
        """The folder that survives a kill: resume points of this step, outside DVC's outputs."""
        folder = state_folder(self.root, self.profile.name) / self.step
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def blocks(self) -> Path:
        """The folder of this step's finished blocks, for the next run as well: outputs hold links to them."""
        return state_folder(self.root, self.profile.name) / "blocks" / self.step

    @property
    def reports(self) -> Path:
        """``reports/<profile>``, for the few facts that differ between machines and are no output."""
        return reports_folder(self.root, self.profile.name)

    @property
    def code(self) -> dict[str, str]:
        """Digests of the source files that decide the step's result."""
        return code_digests(self.root, self.step)

    def report(self, name: str) -> Path:
        """A file that becomes ``reports/<profile>/<name>`` when the step ends well."""
        folder = self.staging / "reports"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def input(self, step: str, view: str | None = None) -> Path:
        """The output folder of an earlier step; what a step uses is on record in its run.

        Under DVC its content is compared with ``dvc.lock``: DVC itself does not notice that an object of its cache, or
        a file that kept its date, is damaged (``doctor/objects.py``). By hand, a step may use what was made by hand.

        Args:
            step: the earlier step.
            view: the file of the output that this step depends on alone, such as ``views/stage1.json``. It names the
                blocks that are used; those are not looked at here, for they may be terabytes: who reads them checks.

        Raises:
            DataError: the step has not run, or DVC calls the step with an input that is not the recorded one.
        """
        folder = data_folder(self.root, self.profile.name) / step
        part = folder / view if view else folder
        if not part.exists():
            raise DataError(f"{part} is missing; run `dvc repro {step}` first")
        if part not in self.used and lock_md5(self.root, folder) is not None:
            md5, recorded = dvc_md5(part), lock_md5(self.root, part)
            if recorded not in (md5, None) and "DVC_STAGE" in os.environ:
                raise DataError(
                    f"{part} is damaged, or changed by hand: it is not what dvc.lock records; "
                    f"`tinygptv doctor --deep` names the mending, `dvc commit -f {step}` keeps a change that you made"
                )
            self.run.dataset(step, part, md5, self.step, contents(part))
        self.used.add(part)
        return folder


def contents(part: Path) -> dict[str, int]:
    """How much is in a step's output: bytes, and rows where it counts records or images, named as MLflow names them."""
    if part.is_file():
        return {"num_bytes": part.stat().st_size}
    found = {"num_bytes": tree_size(part)}
    for name in (SUMMARY, MANIFEST):
        counted = read_json(part / name) if (part / name).is_file() else {}
        rows = counted.get("records", counted.get("images"))
        if isinstance(rows, int):
            found["num_rows"] = rows
    return found


def execute(
    step: str, profile_name: str | None = None, allowed_changes: tuple[str, ...] = (), workers: Workers = ALONE
) -> None:
    """Run one step of a profile in this process, or its share of a stage.

    Args:
        step: its name.
        profile_name: the profile; None for that of ``params.yaml``.
        allowed_changes: keys in which a resume point of a stage may differ from this run.
        workers: the processes that share the stage.

    Raises:
        UserError: anything a user can mend.
        Interrupted: SIGTERM or SIGINT; the resume state is saved.
    """
    from importlib import import_module

    from tinygptv.ground.names import STAGES
    from tinygptv.tracking.runs import StepRun, UnrecordedRun

    if workers.size > 1 and step not in STAGES:
        raise UserError("one process runs it, as it is no stage; call it without torchrun")
    root = find_root(Path(os.environ.get("DVC_ROOT", Path.cwd())))
    own_code = Path(__file__).resolve().parents[1]
    if not own_code.is_relative_to(root.resolve()):
        raise UserError(f"the code of {own_code} would run in {root}; set PYTHONPATH={root / 'src'}")
    profile = read_profile(root, profile_name)
    state = state_folder(root, profile.name)
    with only_one(state / "locks" / f"{step}.lock", step) if workers.is_main else nullcontext():
        workers.barrier()  # nobody begins before the lock is held
        started = time.monotonic()
        staging = state / "staging" / step
        if workers.is_main:
            shutil.rmtree(staging, ignore_errors=True)
        stop = StopRequest.install()
        kind = StepRun if workers.is_main else UnrecordedRun
        run = kind(step=step, profile=profile, root=root, spool_folder=state / "spool")
        context = StepContext(
            step=step,
            profile=profile,
            root=root,
            run=run,
            stop=stop,
            staging=staging,
            allowed_changes=allowed_changes,
            workers=workers,
        )
        module = import_module(f"tinygptv.steps.{'train' if step in STAGES else step}")
        if hasattr(module, "same_as_before"):
            try:
                nothing_new = module.same_as_before(context)
            except BaseException:
                with run:  # a failure, or a stop, is on record as that of any step
                    raise
            if nothing_new:
                shutil.rmtree(staging)
                return
        with run, workers.quiet():
            module.run(context)
            seconds = round(time.monotonic() - started, 2)
            run.metrics({"seconds": seconds})
            if workers.is_main:
                publish(context)
        if workers.is_main:
            record = {"run_id": run.run_id, "url": run.url, "seconds": seconds}
            record |= {"step": step, "pipeline": os.environ.get("TINYGPTV_PIPELINE_ID")}
            write_json(record_file(state, step), record | {"total_seconds": round(time.monotonic() - started, 2)})
        workers.barrier()


def publish(context: StepContext) -> None:
    """Move the staged outputs into place and record their DVC digest.

    Reports are brought beside their places first: where that fails, the data stay as they were, too.
    """
    target = reports_folder(context.root, context.profile.name)
    beside = {path.name: target / f".{path.name}.new" for path in (context.staging / "reports").glob("*")}
    if beside:
        target.mkdir(parents=True, exist_ok=True)
    for name, near in beside.items():
        (context.staging / "reports" / name).replace(near)
    data = context.staging / "data"
    if data.is_dir():
        require_room(
            context.root / ".dvc" / "cache", tree_size(data)
        )  # DVC itself says "failed to transfer" and exits with 0
        context.run.tags({"dvc.md5": dvc_md5(data)})
        replace_folder(data, context.published)
    for name, near in beside.items():
        near.replace(target / name)
    shutil.rmtree(context.staging, ignore_errors=True)
    shutil.rmtree(context.state, ignore_errors=True)

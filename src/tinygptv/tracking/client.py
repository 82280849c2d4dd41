"""The door to MLflow: where its store is, quiet and bounded, and the two runs that must exist only once."""

from __future__ import annotations

import fcntl
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygptv.ground.addresses import split_user, without_secrets
from tinygptv.ground.errors import UserError
from tinygptv.ground.folders import STATE
from tinygptv.ground.servers import mlflow_address
from tinygptv.ground.stores import THROUGH_SERVER, login_for
from tinygptv.tracking import facts, faults, pages, transfers

SQLITE = "sqlite:///"
KIND_TAG = "mlflow.experimentKind"
"""What the experiment is for, in MLflow's words. Its page goes by the address instead: ``pages``."""
KIND = "custom_model_development"
PIPELINE_TAG = "pipeline.id"
SPOOL_TAG = "spool.id"


def tracking_uri(root: Path) -> str:
    """Where runs are recorded: ``MLFLOW_TRACKING_URI``, or ``mlflow.db`` in the checkout; always absolute.

    Of a server without user and password, which ``credentials`` has; a database's address is not for showing.
    """
    configured = {**os.environ, **credentials(os.environ)}.get("MLFLOW_TRACKING_URI")
    uri = configured or f"{SQLITE}{root.resolve() / 'mlflow.db'}"
    if uri.startswith(SQLITE) and not uri.startswith(f"{SQLITE}/"):
        uri = f"{SQLITE}{root.resolve() / uri.removeprefix(SQLITE)}"
    return uri


def store_root() -> Path:
    """The checkout whose store is meant where none is named: that around this folder, if the store is a file of it.

    Raises:
        UserError: there is none.
    """
    from tinygptv.ground.folders import find_root

    return Path.cwd() if os.environ.get("MLFLOW_TRACKING_URI") else find_root(Path.cwd())


def store_is_missing(root: Path) -> bool:
    """Whether the store is a file that does not exist: connecting would create it."""
    uri = tracking_uri(root)
    return uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file()


def require_store(root: Path, wanted: str) -> None:
    """Refuse to look for something where nothing was ever recorded, without creating the store.

    Args:
        root: the checkout.
        wanted: what is looked for.

    Raises:
        UserError: the store is a file that does not exist.
    """
    if store_is_missing(root):
        raise UserError(f"{wanted}: {tracking_uri(root)} does not exist; run `make demo`, or set MLFLOW_TRACKING_URI")


def credentials(env: Mapping[str, str]) -> dict[str, str]:
    """A server's address without its user, and user and password in MLflow's own variables for them.

    So nobody can show them by showing the address: neither this project nor MLflow, nor any library below it.
    """
    address, user, password = split_user(env.get("MLFLOW_TRACKING_URI", ""))
    if not address.startswith("http"):
        return {}
    found = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    return {"MLFLOW_TRACKING_URI": address, **{name: value for name, value in found.items() if value}}


def prepare_environment(root: Path | None = None) -> None:
    """Settings that MLflow reads when it is imported: no telemetry, no long retries, no chatter, no shown password.

    What opens MLflow's server of a checkout is among them, where this is the one to speak to.
    """
    os.environ.update(credentials(os.environ))
    if root is not None and os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        for name, value in login_for(root, os.environ).items():
            os.environ.setdefault(name, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
    # Its default, 7, would block for minutes, and one retry already makes a second run where only the answer was lost.
    # Who needs to try again does so by looking first (``run_once``, ``StepRun``).
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER"] = "false"  # a 429 may ask for an hour
    transfers.settle()
    os.environ.update(THROUGH_SERVER)
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Tracking:
    """A connection to the store."""

    root: Path
    uri: str
    mlflow: Any
    """``mlflow.MlflowClient``."""

    @classmethod
    def connect(cls, root: Path) -> Tracking:
        """Import MLflow (seconds) and open the store, which is created where it is missing.

        Raises:
            Exception: whatever MLflow raises where the store cannot be reached.
        """
        prepare_environment(root)
        uri = tracking_uri(root)
        import mlflow

        mlflow.set_tracking_uri(uri)  # the registry's store asks for models at the global address
        with only_creator(root):
            if uri.startswith(SQLITE):
                database = Path(uri.removeprefix(SQLITE))
                _create_database(database)
                (database.parent / "mlartifacts").mkdir(mode=0o700, exist_ok=True)
            return cls(root, uri, mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri))

    def experiment(self, profile: str) -> str:
        """The id of ``tinygptv/<profile>``, created where it is missing."""
        name = experiment_name(profile)
        found = self.mlflow.get_experiment_by_name(name)
        if found is None or KIND_TAG not in found.tags:
            with only_creator(self.root):
                found = self.mlflow.get_experiment_by_name(name) or self._new_experiment(name, profile)
                if KIND_TAG not in found.tags:
                    self._say_kind(found)
        return str(found.experiment_id)

    def _new_experiment(self, name: str, profile: str) -> Any:
        # another checkout, which shares a server and no lock, may be first
        place = self.artifacts(profile)
        created(lambda: self.mlflow.create_experiment(name, artifact_location=place, tags={KIND_TAG: KIND}))
        return self.mlflow.get_experiment_by_name(name)

    def _say_kind(self, experiment: Any) -> None:
        """Tag an experiment of an earlier version; to MLflow, a tag that another checkout sets just now is a fault."""
        from mlflow.exceptions import MlflowException

        try:
            self.mlflow.set_experiment_tag(experiment.experiment_id, KIND_TAG, KIND)
        except MlflowException:
            if KIND_TAG not in self.mlflow.get_experiment_by_name(experiment.name).tags:
                raise

    def artifacts(self, profile: str) -> str | None:
        """Where files of an experiment go: beside a SQLite file; a server decides for itself."""
        if not self.uri.startswith(SQLITE):
            return None
        database = Path(self.uri.removeprefix(SQLITE))
        return (database.parent / "mlartifacts" / profile).as_uri()

    def run(self, experiment: str, tag: str, value: str) -> str | None:
        """The id of the run with a tag, or None."""
        runs = self.mlflow.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def run_once(
        self, experiment: str, tag: str, value: str, name: str, tags: Mapping[str, str], started: int | None = None
    ) -> str:
        """The id of the run with a tag; two processes that ask at once get the same run.

        Args:
            experiment: the experiment's id.
            tag: the tag that makes the run unique.
            value: the tag's value.
            name: name of the run if it has to be created.
            tags: its further tags.
            started: its start in milliseconds since 1970.
        """
        with only_creator(self.root):
            found = self.run(experiment, tag, value)
            if found is not None:
                return found
            created = self.mlflow.create_run(experiment, start_time=started, run_name=name, tags={**tags, tag: value})
            return str(created.info.run_id)

    def pipeline(self, experiment: str, identifier: str, tags: Mapping[str, str], started: int | None = None) -> str:
        """The parent run of a pipeline, created by whoever comes first: ``pipeline <commit> <profile>``.

        In this order, for MLflow's list of runs shows the first 18 characters.
        """
        name = f"pipeline {tags['git.sha'][:7]} {tags['profile']}"
        tags = {**tags, **facts.source("flows.pipeline", tags["git.sha"])}
        return self.run_once(experiment, PIPELINE_TAG, identifier, name, tags, started)

    def url(self, experiment: str, run: str) -> str:
        """Where the run can be looked at; for a SQLite store, once ``tinygptv up`` runs in the checkout it lies in."""
        if self.uri.startswith("http"):
            base = without_secrets(self.uri).rstrip("/")
        else:
            home = Path(self.uri.removeprefix(SQLITE)).parent if self.uri.startswith(SQLITE) else self.root
            base = mlflow_address(home)  # a worktree writes to the main checkout's database
        return pages.of_run(base, experiment, run)


def experiment_name(profile: str) -> str:
    """What the experiment of a profile is called."""
    return f"tinygptv/{profile}"


def created(create: Callable[[], object]) -> bool:
    """Whether a call made something of a name in MLflow's store; False where the name is taken already."""
    from mlflow.exceptions import MlflowException

    try:
        create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def _create_database(database: Path) -> None:
    """Make MLflow's tables aside and rename the file.

    MLflow makes them in many transactions. A kill or a full disk between two of them would leave a database that it
    refuses for ever, because some of the tables are there already.
    """
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left in database.parent.glob(f".{database.name}.*.new*"):  # of a kill; some with SQLite's journal
        left.unlink()
    # a name of its own, because MLflow keeps connections by name, also those to a file that it could not fill
    staged = database.with_name(f".{database.name}.{uuid.uuid4().hex}.new")
    SqlAlchemyStore(f"{SQLITE}{staged}", str(database.parent / "mlartifacts"))._dispose_engine()
    staged.chmod(0o600)  # who may write here decides what is champion
    staged.replace(database)


@contextmanager
def reachable(root: Path) -> Iterator[Tracking]:
    """Connect for a command of a user.

    Raises:
        UserError: the store refuses, or this machine does not let it work.
        PassingError: it cannot be reached just now.
    """
    prepare_environment(root)
    uri = tracking_uri(root)
    faults.require_readable(uri, f"MLflow at {uri}")
    try:
        yield Tracking.connect(root)
    except faults.kinds() as error:
        raise faults.explain(error, f"MLflow at {uri}", uri, faults.START) from error


@contextmanager
def only_creator(root: Path) -> Iterator[None]:
    """Hold a lock of the checkout: SQLite tables and get-or-create runs are made by one process at a time."""
    lock = root / STATE / "tracking.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

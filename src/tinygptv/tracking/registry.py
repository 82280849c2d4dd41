"""The registry of 8-bit packages: versions by content, and the aliases challenger, champion and previous."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.files import require_room, scratch_folder, sha256_tree, tree_size
from tinygptv.ground.folders import state_folder
from tinygptv.ground.graph import graph_of
from tinygptv.tracking import ADDRESS, facts, packages
from tinygptv.tracking.chain import Chain, Start
from tinygptv.tracking.client import Tracking, reachable, require_store
from tinygptv.tracking.description import describe_version
from tinygptv.tracking.lineage import walk
from tinygptv.tracking.saved import save
from tinygptv.tracking.transfers import time_for
from tinygptv.tracking.version_tags import PACKAGE_STEP, Lineage, outputs_of, tags_of

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
DIGEST_TAG = "package.sha256"
LOGGED = re.compile(r"models:/(m-[0-9a-f]+)")
"""The source of a version that was made of a logged model; MLflow's own field for it stays empty in SQL stores."""
DESCRIPTION = (
    "TinyGPT-V (arXiv 2312.16862) in 8 bits, trained by the profile `{}`: answers questions about an image.\n\n"
    "`champion` is served, `challenger` was made last, `previous` is what `tinygptv rollback` returns to. A version's "
    "description has the gate's decision, its numbers and its lineage back to the data."
)
PASSED_TAG, REASONS_TAG = "gate.passed", "gate.reasons"
"""What the gate said of a version, written with each decision."""
RESTORED_TAG = "restored.at"
"""When a rollback brought a version back, whatever the gate has said of it since it was champion before."""
UNDECIDED = {PASSED_TAG: "false", REASONS_TAG: "not decided yet"}
"""From the first moment a version says what the gate thinks of it, whatever is killed later."""
SECONDS_FOR_LEFTOVERS = 30.0


def add_package(tracking: Tracking, name: str, folder: Path, lineage: Lineage) -> tuple[str, bool]:
    """Make a package a version of a registered model, and the challenger. The same content is the same version.

    A package of an experiment moves no alias, and changes nothing of a version that others made.

    Args:
        tracking: the store.
        name: the registered model.
        folder: the package: a Hugging Face folder.
        lineage: where the package comes from.

    Returns:
        The version, and whether it is new.

    Raises:
        UserError: the folder is missing.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; run `dvc repro quantize` first")
    digest = sha256_tree(folder)
    version = _version_of(tracking, name, digest)
    created = version is None
    if version is None:
        version = _add_version(tracking, name, digest, folder, lineage)
    if lineage.experiment.items() <= tracking.mlflow.get_model_version(name, version).tags.items():
        for key, value in tags_of(lineage).items():
            tracking.mlflow.set_model_version_tag(name, version, key, value)
    if not lineage.experiment:
        tracking.mlflow.set_registered_model_alias(name, CHALLENGER, version)
    return version, created


def find_version(tracking: Tracking, name: str, version: str) -> Any:
    """MLflow's record of a version.

    Raises:
        UserError: there is none.
    """
    from mlflow.exceptions import MlflowException

    try:
        return tracking.mlflow.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise UserError(f"{name} has no version {version} in {tracking.uri}; MLflow's page Models lists them") from None


def made_of(root: Path, source: str) -> tuple[str, dict[str, str]]:
    """What a registered version was made of, by its tags.

    Args:
        root: the checkout whose store is asked.
        source: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.

    Returns:
        The profile, and step → DVC digest of its output; no steps where the version names none.

    Raises:
        UserError: the address is of another form, or there is no such version.
        PassingError: the store cannot be reached just now.
    """
    parts = ADDRESS.fullmatch(source)
    if parts is None:
        raise UserError(f"{source}: an address is models:/<name>@<alias> or models:/<name>/<version>")
    require_store(root, source)
    with reachable(root) as tracking:
        version = parts["version"] or version_by_alias(tracking, parts["name"], parts["alias"])
        if version is None:
            raise UserError(f"{source} is not in the registry of {tracking.uri}; MLflow's page Models lists what is")
        tags = find_version(tracking, parts["name"], version).tags
    return str(tags.get("profile", "")), outputs_of(tags)


def attach(tracking: Tracking, name: str, version: str, folder: Path) -> None:
    """Keep a folder with a version: among the files of its logged model, or of its run where it has no such model."""
    found = tracking.mlflow.get_model_version(name, version)
    logged = LOGGED.fullmatch(found.source or "")
    with time_for(tree_size(folder)):
        if logged is not None:
            tracking.mlflow.log_model_artifacts(logged[1], str(folder), folder.name)
        elif found.run_id:
            tracking.mlflow.log_artifacts(found.run_id, str(folder), folder.name)


def version_by_alias(tracking: Tracking, name: str, alias: str) -> str | None:
    """The version that an alias names, or None."""
    return _aliases(tracking, name).get(alias)


def aliases_of(tracking: Tracking, name: str, version: str) -> tuple[str, ...]:
    """A version's aliases, sorted."""
    return tuple(sorted(alias for alias, named in _aliases(tracking, name).items() if named == version))


def weights_folder(source: str, root: Path | None = None, target: Path | None = None) -> Path:
    """The folder with the weights of a registered package; no code of the registry is run.

    Args:
        source: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        root: the checkout whose store is asked; None for the one around this folder.
        target: where to put a copy, which is the caller's to remove; None where the store is on this disk.

    Raises:
        UserError: there is no such version, the store refuses, or the copy finds no room.
        DataError: what is registered holds no package.
        PassingError: the store cannot be reached just now.
    """
    uri, files = packages.find(source, root)
    assert target is not None or packages.on_this_disk(files), "a copy needs a place"
    return packages.weights(source, uri, files, target)


def model_tags(tracking: Tracking, name: str) -> dict[str, str]:
    """The tags of a model, not of its versions; none where the model does not exist."""
    models = tracking.mlflow.search_registered_models(f"name = '{name}'")
    return dict(models[0].tags) if models else {}


def _aliases(tracking: Tracking, name: str) -> dict[str, str]:
    """All aliases of a model; none where the model does not exist."""
    models = tracking.mlflow.search_registered_models(f"name = '{name}'")
    return {alias: str(version) for alias, version in models[0].aliases.items()} if models else {}


def _version_of(tracking: Tracking, name: str, digest: str) -> str | None:
    """The oldest version with this content."""
    found = tracking.mlflow.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
    return str(min(int(version.version) for version in found)) if found else None


def _add_version(tracking: Tracking, name: str, digest: str, folder: Path, lineage: Lineage) -> str:
    """Log the package as a model and register it together with its digest, so that a kill leaves no orphan.

    ``mlflow.pyfunc.log_model`` would do the same, but first load the model and ask it something: ten seconds for what
    the step ``quantize`` has done with the whole test set.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    client, run_id = tracking.mlflow, lineage.run_id or None
    with scratch_folder() as temporary:
        require_room(temporary, tree_size(folder))
        logged = client.create_logged_model(tracking.experiment(lineage.profile), name=name, source_run_id=run_id)
        saved = temporary / "model"
        save(saved, folder, Model(model_id=logged.model_id, run_id=run_id))
        with time_for(tree_size(saved)):
            client.log_model_artifacts(logged.model_id, str(saved))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    if run_id:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=DESCRIPTION.format(lineage.profile))
    address, tags = f"models:/{logged.model_id}", {DIGEST_TAG: digest, **UNDECIDED, **lineage.experiment}
    added = client.create_model_version(name, address, run_id=run_id, tags=tags, model_id=logged.model_id)
    return str(added.version)


def complete_lineage(tracking: Tracking, lineage: Lineage) -> None:
    """Send what the chain of a version that is being registered needs, and earlier steps could not send."""
    from tinygptv.tracking.shipping import ship_leftovers

    ship_leftovers(state_folder(tracking.root, lineage.profile) / "spool", tracking, SECONDS_FOR_LEFTOVERS)
    if lineage.run_id:
        read = {f"dvc.input.{PACKAGE_STEP}": lineage.digests[PACKAGE_STEP]} if PACKAGE_STEP in lineage.digests else {}
        for key, value in {**facts.at_end(), **read}.items():  # the run sends them, too, but perhaps later
            tracking.mlflow.set_tag(lineage.run_id, key, value)


def description_of(tracking: Tracking, name: str, version: str, lineage: Lineage) -> str:
    """What a version says about itself, from its lineage as far as it is on record by now."""
    chain = chain_of(tracking, name, version, lineage.run_id or None)
    return describe_version(chain, lineage.quantized, lineage.unquantized)


def chain_of(tracking: Tracking, name: str, version: str, running: str | None = None) -> Chain:
    """A version's lineage.

    Args:
        tracking: the store.
        name: the registered model.
        version: its version.
        running: the id of the ``register`` run in which this is called.
    """
    start = Start(subject=f"models:/{name}/{version}", version=(name, version))
    return walk(tracking.mlflow, graph_of(tracking.root), start, running=running)

"""The registry of 8-bit packages: versions by content, and the aliases challenger, champion and previous."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tinygptv
from tinygptv.config import Gate, Register
from tinygptv.errors import DataError, UserError
from tinygptv.files import sha256_tree
from tinygptv.tracking import facts
from tinygptv.tracking import gate as gates
from tinygptv.tracking.card import lineage_card
from tinygptv.tracking.chain import Start
from tinygptv.tracking.client import SQLITE, Tracking, prepare_environment, reachable, tracking_uri
from tinygptv.tracking.lineage import PACKAGE_STEP, walk

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
DIGEST_TAG = "package.sha256"
REPORT_TAG = "report"
PACKAGE = "package"
SECONDS_FOR_LEFTOVERS = 30.0
REQUIREMENTS = (
    "accelerate",
    "bitsandbytes",
    "mlflow",
    "numpy",
    "peft",
    "pillow",
    "pydantic",
    "ruamel.yaml",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)
"""What the package needs where it is served; versions are those installed here."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of a package."""

    name: str
    version: str
    created: bool
    """False where the registry had the same content already."""
    aliases: tuple[str, ...]
    decision: gates.Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a package comes from."""

    profile: str
    git_sha: str
    digests: Mapping[str, str]
    """Step → DVC digest of its output."""
    quantized: Mapping[str, Any]
    """``quantize.json``."""
    unquantized: Mapping[str, Any]
    """``evaluate.json``."""
    run_id: str
    """The MLflow run that registers; empty for none."""


def register_package(root: Path, folder: Path, settings: Register, lineage: Lineage) -> Registration:
    """Register an 8-bit package as challenger and let the gate decide about champion.

    Doing it again with the same content adds no version.

    Args:
        root: the checkout.
        folder: the package: a Hugging Face folder.
        settings: the section ``register`` of the configuration.
        lineage: where the package comes from.

    Raises:
        UserError: the folder is missing, or MLflow cannot be reached or refuses.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; run `dvc repro quantize` first")
    name, digest = settings.model_name, sha256_tree(folder)
    with reachable(root) as tracking:
        version = _version_of(tracking, name, digest)
        created = version is None
        if version is None:
            version = _add_version(tracking, name, digest, folder, lineage)
        for key, value in _tags(lineage).items():
            tracking.mlflow.set_model_version_tag(name, version, key, value)
        tracking.mlflow.set_registered_model_alias(name, CHALLENGER, version)
        decision = promote(tracking, name, version, settings.gate)
        description = _card(tracking, name, version, lineage)
        tracking.mlflow.update_model_version(name, version, description)
        return Registration(name, version, created, aliases_of(tracking, name, version), decision)


def promote(tracking: Tracking, name: str, version: str, gate: Gate) -> gates.Decision:
    """Make a version champion if it passes the gate; the former champion becomes previous.

    The decision and its reasons, and who made it champion and when, are kept as tags of the version. ``challenger``
    stays where it is.
    """
    client = tracking.mlflow
    champion = version_by_alias(tracking, name, CHAMPION)
    compared = report_of(tracking, name, champion) if champion not in (None, version) else None
    decision = gates.decide(report_of(tracking, name, version), compared, gate)
    client.set_model_version_tag(name, version, "gate.passed", str(decision.passed).lower())
    client.set_model_version_tag(name, version, "gate.reasons", "; ".join(decision.reasons) or "none")
    if decision.passed and champion != version:
        if champion is not None:
            client.set_registered_model_alias(name, PREVIOUS, champion)  # first: a kill must not lose it
        for key, value in (("promoted.by", facts.user()), ("promoted.at", facts.now())):
            client.set_model_version_tag(name, version, key, value)  # first, too: a rerun would not add them
        client.set_registered_model_alias(name, CHAMPION, version)
    return decision


def version_by_alias(tracking: Tracking, name: str, alias: str) -> str | None:
    """The version that an alias names, or None."""
    return _aliases(tracking, name).get(alias)


def aliases_of(tracking: Tracking, name: str, version: str) -> tuple[str, ...]:
    """A version's aliases, sorted."""
    return tuple(sorted(alias for alias, named in _aliases(tracking, name).items() if named == version))


def report_of(tracking: Tracking, name: str, version: str) -> dict[str, Any]:
    """The numbers that a version was registered with; empty where somebody registered it by hand."""
    tags = tracking.mlflow.get_model_version(name, version).tags
    return dict(json.loads(tags[REPORT_TAG])) if REPORT_TAG in tags else {}


def weights_folder(source: str) -> Path:
    """The folder with the weights of a registered package; no code of the registry is run.

    Raises:
        UserError: there is no such version, or it holds no package.
    """
    from tinygptv.profiles import read_yaml
    from tinygptv.steps.harness import find_root

    configured = os.environ.get("MLFLOW_TRACKING_URI")
    root = Path.cwd() if configured else find_root(Path.cwd())
    uri = tracking_uri(root)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise UserError(f"{source}: {uri} does not exist; run `dvc repro -f -s register`, or set MLFLOW_TRACKING_URI")
    prepare_environment()
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        model = Path(download_artifacts(artifact_uri=source, tracking_uri=uri))
    except MlflowException as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source} cannot be read from {uri}: {reason}; `dvc repro -f -s register` fills it") from None
    flavors = read_yaml(model / "MLmodel").get("flavors", {})
    entry = flavors.get("python_function", {}).get("artifacts", {}).get(PACKAGE)
    folder = (model / entry["path"]).resolve() if entry else model
    if entry is None or not folder.is_dir() or not folder.is_relative_to(model.resolve()):
        raise UserError(f"{source} holds no 8-bit package; name a version that the step `register` made")
    return folder


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
    logged = client.create_logged_model(tracking.experiment(lineage.profile), name=name, source_run_id=run_id)
    with TemporaryDirectory(prefix="tinygptv-") as temporary:
        saved = Path(temporary) / "model"
        _save(saved, folder, Model(model_id=logged.model_id, run_id=run_id))
        client.log_model_artifacts(logged.model_id, str(saved))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    if run_id:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    address, tags = f"models:/{logged.model_id}", {DIGEST_TAG: digest}
    added = client.create_model_version(name, address, run_id=run_id, tags=tags, model_id=logged.model_id)
    return str(added.version)


def _save(path: Path, package: Path, model: Any) -> None:
    """Write the model in MLflow's format, with its code and without a pickle."""
    from mlflow.pyfunc import save_model

    save_model(
        path=str(path),
        mlflow_model=model,
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={PACKAGE: str(package)},
        code_paths=[str(Path(tinygptv.__file__).parent)],
        signature=_signature(),
        input_example=_example(),
        pip_requirements=[f"{name}=={installed_version(name).split('+')[0]}" for name in REQUIREMENTS],
    )


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec("binary", "image"), ColSpec("string", "question")]), outputs=Schema([ColSpec("string")])
    )


def _example() -> Any:
    """A grey picture and a question, in the form that the model takes."""
    import pandas as pd
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, format="PNG")
    return pd.DataFrame({"image": [file.getvalue()], "question": ["what shape does the image contain?"]})


def _card(tracking: Tracking, name: str, version: str, lineage: Lineage) -> str:
    """The version's description, from its lineage as far as it is on record by now."""
    from tinygptv.tracking.lineage_start import graph_of
    from tinygptv.tracking.shipping import ship_leftovers

    root, run_id = tracking.root, lineage.run_id or None
    # What earlier steps could not send while MLflow was down belongs into the chain.
    ship_leftovers(root / ".state" / lineage.profile / "spool", tracking, SECONDS_FOR_LEFTOVERS)
    if run_id is not None:
        read = {f"dvc.input.{PACKAGE_STEP}": lineage.digests[PACKAGE_STEP]} if PACKAGE_STEP in lineage.digests else {}
        for key, value in {**facts.at_end(), **read}.items():  # the run sends them, too, but perhaps later
            tracking.mlflow.set_tag(run_id, key, value)
    chain = walk(tracking.mlflow, graph_of(root), Start(subject=name, version=(name, version)), running=run_id)
    return lineage_card(chain, lineage.quantized, lineage.unquantized)


def _tags(lineage: Lineage) -> dict[str, str]:
    """The version's tags: lineage, and the numbers that the gate compares."""
    benchmarks = lineage.quantized.get("benchmarks") or {}
    numbers = {name: {"value": entry.get("value"), "n": entry.get("n")} for name, entry in benchmarks.items()}
    report = {"benchmarks": numbers, "agreement": lineage.quantized.get("agreement")}
    tags = {"profile": lineage.profile, "git.sha": lineage.git_sha, REPORT_TAG: json.dumps(report, sort_keys=True)}
    tags.update({f"dvc.{step}": digest for step, digest in lineage.digests.items()})
    tags.update({f"metric.{name}": str(entry["value"]) for name, entry in numbers.items()})
    if PACKAGE_STEP in lineage.digests:
        tags["dvc.md5"] = lineage.digests[PACKAGE_STEP]
    return tags

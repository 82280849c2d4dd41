"""A package as an MLflow model: its files, the code that answers with them, its signature and an example."""

from __future__ import annotations

import io
import tempfile
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

PACKAGE = "package"
"""The folder of the weights among the model's artifacts."""
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


def save(path: Path, package: Path, model: Any) -> None:
    """Write the model in MLflow's format, with its code and without a pickle."""
    from mlflow.pyfunc import save_model

    former, tempfile.tempdir = tempfile.tempdir, str(path.parent)  # MLflow's copy goes with ours, also after a kill
    try:
        save_model(
            path=str(path),
            mlflow_model=model,
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={PACKAGE: str(package)},
            code_paths=[str(Path(__file__).parents[1])],
            signature=_signature(),
            input_example=_example(),
            pip_requirements=[f"{name}=={installed_version(name).split('+')[0]}" for name in REQUIREMENTS],
        )
    finally:
        tempfile.tempdir = former


def _signature() -> Any:
    """The columns. Of a narrower type MLflow's server would turn null into "None", and refuse all rows for one."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    from tinygptv.evaluation import rows

    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name) for name in (rows.IMAGE, rows.QUESTION)]),
        outputs=Schema([ColSpec("string", name, required=False) for name in ("answer", "error")]),
    )


def _example() -> Any:
    """A grey picture and a question, in the form that the model takes."""
    import pandas as pd
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, format="PNG")
    return pd.DataFrame({"image": [file.getvalue()], "question": ["what shape does the image contain?"]})

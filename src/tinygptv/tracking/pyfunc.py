"""The registered model's code (MLflow "models from code"): image and question in, answer out.

MLflow copies this file into the model and runs it there; nothing imports it. Weights come from the package among the
model's artifacts, so no pickle is involved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

if TYPE_CHECKING:
    from tinygptv.model.inference import VisionLanguageModel


class VisualQuestionAnswering(PythonModel):
    """Answers one question about one image for each row."""

    _model: VisionLanguageModel

    def load_context(self, context: Any) -> None:
        """Read weights and processor from the folder ``package`` of the model's artifacts."""
        from tinygptv.model.inference import VisionLanguageModel

        self._model = VisionLanguageModel.from_folder(Path(context.artifacts["package"]), "cpu")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[str]:
        """Answer each row.

        Args:
            context: MLflow's, unused.
            model_input: a table with the columns ``image`` (an image file's bytes) and ``question``.
            params: none exist.
        """
        images = [bytes(image) for image in model_input["image"]]
        return self._model.answer(images, [str(question) for question in model_input["question"]])


set_model(VisualQuestionAnswering())

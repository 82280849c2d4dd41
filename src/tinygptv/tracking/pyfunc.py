"""The registered model's code (MLflow "models from code"): image and question in, answer out.

MLflow copies this file into the model and runs it there; nothing imports it. Weights come from the package among the
model's artifacts, so no pickle is involved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
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

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer each row, or say why not.

        Args:
            context: MLflow's, unused.
            model_input: a table with the columns ``image`` (an image file's bytes, or their base 64) and ``question``.
            params: none exist.

        Returns:
            A table with the input's index and the columns ``answer`` and ``error``, one of which is None in each row.

        Raises:
            MlflowException: the columns differ in length.
        """
        from tinygptv.evaluation.rows import IMAGE, QUESTION, answer_rows

        rows = _rows(model_input)
        images, questions = (
            [None if missing else value for value, missing in zip(rows[name], rows[name].isna(), strict=True)]
            for name in (IMAGE, QUESTION)
        )
        replies = answer_rows(self._model, images, questions)
        found = {"answer": [reply.answer for reply in replies], "error": [reply.error for reply in replies]}
        return pd.DataFrame(found, index=rows.index, dtype=object)  # of another type None would be NaN


def _rows(found: pd.DataFrame) -> pd.DataFrame:
    """The table that was sent: MLflow makes one row of lists from columns that hold nothing but texts."""
    if len(found) != 1 or not all(isinstance(cell, list) for cell in found.iloc[0]):
        return found
    try:
        return pd.DataFrame({name: found[name].iloc[0] for name in found})
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(f"the columns do not fit together: {error}") from None


set_model(VisualQuestionAnswering())

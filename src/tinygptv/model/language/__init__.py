"""Language models: one module beside ``phi.py`` and one row here for each; the rest asks ``interface.Architecture``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.language.interface import Architecture
from tinygptv.model.language.llama import LLAMA
from tinygptv.model.language.phi import PHI

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from tinygptv.config import Text

ARCHITECTURES: dict[str, Architecture] = {architecture.model_type: architecture for architecture in (PHI, LLAMA)}
"""Language models by the ``model_type`` of their configuration."""
AUTHORS = PHI
"""The one that the authors' files hold."""
BY_NAME: dict[str, Architecture] = {architecture.name: architecture for architecture in ARCHITECTURES.values()}
"""Language models as profiles name them."""


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """The description of a language model from its configuration (``text_config`` of the whole).

    Raises:
        CheckpointError: the table has none of that kind.
    """
    check_known(config.model_type, "the configuration")
    return ARCHITECTURES[config.model_type]


def check_known(model_type: str, origin: str) -> None:
    """Refuse a language model that the table has not.

    Raises:
        CheckpointError: names those that it has.
    """
    if model_type not in list(ARCHITECTURES):  # whatever a file says, hashable or not
        raise CheckpointError(f"{origin} is of the language model {model_type!r}; known: {', '.join(ARCHITECTURES)}")


def of_profile(text: Text) -> Architecture:
    """The description of the language model that a profile's section gives the sizes of."""
    return BY_NAME[text.architecture]

"""Language models: one module beside ``phi.py`` and one row here for each; the rest asks ``interface.Architecture``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.model.language.interface import Architecture
from tinygptv.model.language.phi import PHI

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from tinygptv.config import Text

ARCHITECTURES: dict[str, Architecture] = {architecture.model_type: architecture for architecture in (PHI,)}
"""Language models by the ``model_type`` of their configuration."""
AUTHORS = PHI
"""The one that the authors' files hold."""
DEFAULT = PHI.model_type
"""The one of profiles: their section `model.text` names none."""


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """The description of a language model from its configuration (``text_config`` of the whole)."""
    return ARCHITECTURES[config.model_type]


def of_profile(text: Text) -> Architecture:
    """The description of the language model that a profile's section gives the sizes of."""
    return ARCHITECTURES[DEFAULT]

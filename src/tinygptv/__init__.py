"""TinyGPT-V (arXiv 2312.16862) as a reproducible pipeline.

Importing this package is cheap: torch and transformers are imported by the functions that need them, and the
Auto classes are registered by ``import tinygptv.model``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygptv.model.inference import VisionLanguageModel

__version__ = "0.1.0"


def load(source: str, device: str = "cpu") -> VisionLanguageModel:
    """Open a trained model for questions about images.

    Args:
        source: a folder with weights and processor, such as ``data/tiny/quantize/model``, or a registry address,
            such as ``models:/tinygptv@champion``, or one of the hub, ``hf://OWNER/NAME@REVISION``. Only weights are
            read: no code of a registry or hub is ever run.
        device: a torch device, such as ``cpu`` or ``cuda``.

    Returns:
        An object whose ``answer(images, questions)`` gives one text for each question.

    Raises:
        UserError: the folder or the model version does not exist or is incomplete, or cannot be read.
        PassingError: the registry or the hub cannot be reached just now.
    """
    from tinygptv.tracking import local_folder

    with local_folder(source) as folder:  # first: what does not exist is told before seconds of imports
        from tinygptv.model.inference import VisionLanguageModel

        return VisionLanguageModel.from_folder(folder, device)  # the system keeps mapped weights when a copy goes

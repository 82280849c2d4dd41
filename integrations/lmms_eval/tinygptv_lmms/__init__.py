"""TinyGPT-V as a model of lmms-eval, and its own benchmarks as lmms-eval's tasks (docs/lmms_eval.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def manifests() -> list[ModelManifest]:
    """What lmms-eval finds under the entry point ``lmms_eval.models``."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(
            model_id="tinygptv",
            chat_class_path="tinygptv_lmms.adapter.Chat",
            simple_class_path="tinygptv_lmms.adapter.Simple",
        )
    ]

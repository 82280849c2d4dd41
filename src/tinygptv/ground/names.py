"""The names of the steps, the same in DVC, Prefect, MLflow, the configuration and on disk."""

from __future__ import annotations

from tinygptv.ground.errors import UserError, meant

STAGES = ("stage1", "stage2", "stage3", "stage4")
"""The steps that train."""
LAST_STAGE = STAGES[-1]
"""The finished model's."""
START = "start"
"""In reports: the model that stage 1 begins with."""
STEPS = ("download", "shards", "backbones", "features", *STAGES, "evaluate", "quantize", "register")


def require_stage(name: str) -> None:
    """Refuse what is no step that trains.

    Raises:
        UserError: the message names those that there are.
    """
    if name not in STAGES:
        raise UserError(f"stage {name!r} is none of {', '.join(STAGES)}{meant(name, STAGES)}")

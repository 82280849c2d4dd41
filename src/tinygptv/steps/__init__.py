"""The pipeline's steps: ``python -m tinygptv.steps STEP`` is what DVC calls."""

STAGES = ("stage1", "stage2", "stage3", "stage4")
"""The steps that train."""
STEPS = ("download", "shards", "backbones", "features", *STAGES, "evaluate", "quantize", "register")

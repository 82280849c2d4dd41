"""The pipeline's steps: ``python -m tinygptv.steps STEP`` is what DVC calls."""

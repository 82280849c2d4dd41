"""From challenger to champion: both asked the same questions, a gate that says why, aliases that move, and back.

``decide`` is pure. Everything here goes to MLflow through ``tinygptv.tracking``.
"""

"""The servers beside the pipeline (MLflow, Prefect and its worker): started, shown and ended as processes.

Nothing here imports Prefect or MLflow. What they are told is in ``stack.py``; ``processes.py`` knows only processes.
"""

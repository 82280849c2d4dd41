"""Names of files that one part of the project writes and another one reads. Each is said here and nowhere else."""

from __future__ import annotations

DVC_YAML, DVC_LOCK, PARAMS = "dvc.yaml", "dvc.lock", "params.yaml"
"""In the root of a checkout: the steps, what came of them, and which profile they run."""

SUMMARY = "summary.json"
"""Beside tars: which of them belong to the folder (``data/summary.py``)."""

USES = "uses.json"
"""Beside what was downloaded: which steps use which data sets. The weights of mixtures are not in it."""
INIT = "init.json"
"""Beside what was downloaded: what the section ``init`` of the profile names, and its digest."""

IMAGE_ENCODER, LANGUAGE_MODEL = "image_encoder.safetensors", "language_model.safetensors"
"""The backbones, beside their tokenizer."""

INIT_FOLDER = "init"
"""Beside the backbones, where a profile starts from what stages have trained: their checkpoint."""

TRAINED, MANIFEST, HISTORY = "trained.safetensors", "manifest.json", "history.json"
"""What a stage leaves; ``features`` and ``backbones`` have manifests of their own."""
TRACE = "trace.jsonl"
"""One line for each step of a stage; ``history.json`` has the means that the loss curve shows."""
CUTS = "cuts.json"
"""Entry of the mixture → answers, and how many of them a stage cuts or leaves out (``data/fit.py``)."""
ENVIRONMENT = "environment.json"
"""Where something was made that has no manifest which says so."""

PREDICTIONS = "predictions.json"
"""Questions with a model's answers (``evaluation/predictions.py``)."""
SUBMISSIONS = "submissions"
"""Beside them: a file for each benchmark, in the form that its publishers take."""
EVALUATION, QUANTIZATION = "evaluate.json", "quantize.json"
"""Reports of the steps ``evaluate`` and ``quantize``."""
FULL_PRECISION, EIGHT_BITS = "full.json", "8bit.json"
"""Beside them, for ``dvc metrics``: a number for each benchmark, in full precision and in 8 bits."""
LOSS = "loss.png"
"""Beside them: the curves of the stages."""
PROGRESS, ANSWERS, WORST = "stages.png", "answers.png", "worst.png"
"""What each stage brought, some answers, and wrong answers of which the model was most certain."""

REPRODUCTION, REPRODUCTION_TABLE = "reproduction.json", "reproduction.md"
"""Beside them: what the authors' own checkpoints reach, for programs and for people (``tinygptv reproduce``)."""

PACKAGE_FOLDER = "model"
"""Below ``data/<profile>/quantize``: what is registered."""
MODEL_CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
"""In the folder of any model, as transformers names them."""
TOKENIZER_CONFIG, PROCESSOR_CONFIG = "tokenizer_config.json", "processor_config.json"
GENERATION_CONFIG = "generation_config.json"

GATE, GATE_TABLE = "gate.json", "gate.md"
"""A decision of the gate, for programs and for people."""
VERIFICATION = "verify.json"
"""What ``tinygptv verify`` found."""


def view_of(step: str) -> str:
    """Beside what a step makes for several others: what of it this one uses, on which alone it depends."""
    return f"views/{step}.json"

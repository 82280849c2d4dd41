"""A page to ask a model about images (docs/serving.md). Only this package imports gradio, the extra ``web``."""

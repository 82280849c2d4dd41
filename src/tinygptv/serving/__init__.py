"""A trained model behind HTTP, in the form of OpenAI's chat completions (docs/serving.md).

``app`` is the door, ``requests`` says what may come in, ``engine`` leads a question through ``pictures`` and
``batching`` to one of ``models`` and its answer back. Importing this package is cheap.
"""

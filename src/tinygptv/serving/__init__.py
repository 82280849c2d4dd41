"""A trained model behind HTTP, in the form of OpenAI's chat completions (docs/serving.md).

``app`` is the door, ``requests`` says what may come in, ``engine`` leads a question through ``pictures`` and
``batching`` into the answers that one of ``models`` says, and its own back. Importing this package is cheap.
"""

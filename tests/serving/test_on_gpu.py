"""The service on a GPU: images encoded in their own stream, answers that join captured steps between two tokens."""

from __future__ import annotations

import pytest

from tests.serving.helpers import QUESTIONS, models_of, pictures, post_all, question, said, strong_model, talk
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.serving.limits import ServiceLimits

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
LENGTHS = (1, 3, 9, 40)


def test_many_at_once_are_told_what_they_are_told_alone(make_model, processor, tmp_path):
    model = strong_model(make_model(seed=4), processor, seed=4)
    model.model.generation_config.max_new_tokens = max(LENGTHS)
    models = models_of(tmp_path, {"one": VisionLanguageModel(model.model.to(DEVICE), processor)})
    images = pictures(5)
    bodies = [
        question(models.sources[0], images[i % 5], QUESTIONS[i % 4], max_tokens=LENGTHS[i % len(LENGTHS)])
        for i in range(40)
    ]

    async def alone(client, engine):
        return [said((await post_all(client, [body]))[0]) for body in bodies[:20]]

    async def together(client, engine):
        return [said(response) for response in await post_all(client, bodies)]

    expected = talk(models, alone)
    for most in (3, 64):
        found = talk(models, together, ServiceLimits(max_batch=most))
        # Kernels for other counts of rows add up in another order: where two tokens are equally likely it shows.
        assert sum(a == b for a, b in zip(found, 2 * expected, strict=True)) >= 36

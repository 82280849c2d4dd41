"""Encoding beside the loop: every image its own row, no pass above its size, and no more steps ahead than fill it."""

from __future__ import annotations

import pytest
import torch

from tinygptv.data.batches import Batch
from tinygptv.data.in_loop import encoded

SHAPE = 4
"""Images of a forward pass at most; the encoder fills it up."""


def batch(*numbers, text=0):
    """A micro-batch with these images, and so many samples without one."""
    pixels = [torch.full((3, 2, 2), float(number)) for number in numbers]
    ids = torch.zeros(len(numbers) + text, 1, dtype=torch.long)
    images = torch.stack(pixels) if pixels else torch.empty(0, 5, 6)
    return Batch(("",) * len(ids), ids, ids, ids, images)


@pytest.fixture
def encode():
    """An encoder that remembers what it was given."""
    seen = []

    def work(pixels_NCHW):
        with torch.inference_mode():
            seen.append(pixels_NCHW[:, 0, 0, 0].tolist())
            return pixels_NCHW.mean((1, 2, 3))[:, None, None].expand(-1, 5, 6) * 10

    work.seen = seen
    return work


def rows(steps):
    return [[item.image_features[:, 0, 0].tolist() for item in step] for step in steps]


def test_every_image_has_its_row_and_steps_share_a_pass(encode):
    steps = [[batch(1, 2), batch(3)], [batch(4, 5), batch(6, text=1)], [batch(7)], [batch(8, 9)]]
    found = list(encoded(steps, encode, SHAPE))
    assert rows(found) == [[[10, 20], [30]], [[40, 50], [60]], [[70]], [[80, 90]]]
    assert encode.seen == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert all(item.image_features.shape[1:] == (5, 6) for step in found for item in step)
    assert [item.input_ids is given.input_ids for item, given in zip(found[0], steps[0], strict=True)] == [True, True]


def test_steps_larger_than_a_pass_are_encoded_in_several(encode):
    found = encoded([[batch(1, 2, 3), batch(4, 5)], [batch(6)]], encode, SHAPE)
    assert rows(found) == [[[10, 20, 30], [40, 50]], [[60]]]
    assert encode.seen == [[1, 2, 3, 4], [5], [6]]


def test_text_alone_passes_and_waits_for_no_image(encode):
    steps = iter([[batch(text=1)]] * 20)
    found = next(encoded(steps, encode, SHAPE))
    assert found[0].image_features.shape == (0, 5, 6)
    assert encode.seen == []
    assert len(list(steps)) == 20 - SHAPE


def test_steps_are_taken_as_they_are_asked_for(encode):
    taken = []

    def steps():
        for number in range(1, 100):
            taken.append(number)
            yield [batch(number)]

    found = encoded(steps(), encode, SHAPE)
    next(found)
    assert taken == [1, 2, 3, 4]
    next(found)
    assert taken == [1, 2, 3, 4]


def test_rows_can_be_trained_on(encode):
    ((found,),) = encoded([[batch(1)]], encode, SHAPE)
    weight = torch.ones(6, requires_grad=True)
    (found.image_features @ weight).sum().backward()  # refused for a tensor of the inference mode
    assert weight.grad is not None

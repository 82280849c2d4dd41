"""Model files made to hurt, and weights that change although they are frozen."""

from __future__ import annotations

import hashlib
import json
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkouts import Checkout
from tinygptv.ground.file_names import MANIFEST, TRAINED
from tinygptv.ground.files import read_json, sha256_file, write_json
from tinygptv.tracking import shelf
from tinygptv.tracking.spool import read_events

Damage = Callable[[Path], None]


def with_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a file's header and leave its values as they are."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def first(header: dict[str, Any]) -> dict[str, Any]:
    return next(entry for name, entry in header.items() if name != "__metadata__")  # type: ignore[no-any-return]


def overlapping(path: Path) -> None:
    """Two tensors share their values."""

    def change(header: dict[str, Any]) -> None:
        names = [name for name in header if name != "__metadata__"]
        header[names[1]] = dict(header[names[0]])

    with_header(path, change)


def long_header(path: Path) -> None:
    path.write_bytes((200_000_000).to_bytes(8, "little") + b"{" + b" " * 1000)


def absurd_shape(path: Path) -> None:
    with_header(path, lambda header: first(header).update(shape=[2**40, 2**40]))


def beyond_the_end(path: Path) -> None:
    with_header(path, lambda header: first(header).update(data_offsets=[0, 2**50]))


def unknown_format(path: Path) -> None:
    with_header(path, lambda header: first(header).update(dtype="OBJECT"))


def a_pickle(path: Path) -> None:
    torch.save({"a": torch.ones(3)}, path)


def another_shape(path: Path) -> None:
    tensors = load_file(path)
    name = min(tensors)
    save_file(tensors | {name: torch.ones(3, 3, 3)}, path)


def one_more(path: Path) -> None:
    save_file(load_file(path) | {"language_model.extra": torch.ones(3)}, path)


DAMAGES: dict[Damage, str] = {
    overlapping: "is damaged",
    long_header: "is damaged",
    absurd_shape: "is damaged",
    beyond_the_end: "is damaged",
    unknown_format: "is damaged",
    a_pickle: "is damaged",
    another_shape: "has shape (3, 3, 3), the model needs",
    one_more: "tensor language_model.extra has no place in this model",
}


@pytest.mark.drill(20, "safetensors with lying headers, foreign shapes and names: refused in one line")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_checkpoint_made_to_hurt(checkout: Checkout, refused: Callable[..., str], damage: Damage) -> None:
    """Its manifest has the right digest: whoever makes such a file can also write that."""
    folder = checkout.data / "stage1"
    damage(folder / TRAINED)
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | {"sha256": sha256_file(folder / TRAINED)})
    refused(checkout, "stage2", DAMAGES[damage])


def digest(tensors: dict[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@pytest.mark.drill(22, "digest of the frozen tensors before = after, of the trained ones not, in all stages")
def test_frozen_weights_stay(checkout: Checkout, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygptv.training import loop

    train, compared = loop.train, []

    def watched(state: loop.TrainingState, *arguments: Any, **how: Any) -> None:
        frozen = {name: p for name, p in state.model.named_parameters() if not p.requires_grad and not p.is_meta}
        backbones = {path.name: sha256_file(path) for path in (checkout.data / "backbones").iterdir()}
        before = digest(frozen), digest(dict(state.parameters))
        train(state, *arguments, **how)
        after = digest(frozen), digest(dict(state.parameters))
        assert {path.name: sha256_file(path) for path in (checkout.data / "backbones").iterdir()} == backbones
        compared.append((len(frozen), before[0] == after[0], before[1] != after[1]))

    monkeypatch.setattr(loop, "train", watched)
    for stage in ("stage1", "stage2", "stage3", "stage4"):
        assert run(checkout, stage) == 0
    assert [result[1:] for result in compared] == [(True, True)] * 4
    assert all(count > 10 for count, *_ in compared)


@pytest.mark.drill(24, "NaN at step 6: run FAILED with step and records, resume points as they were")
def test_a_loss_that_breaks_midway(
    checkout: Checkout, refused: Callable[..., str], run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinygptv.training import loop, step

    compute, points = loop.optimizer_step, {}

    def breaks(state: loop.TrainingState, batches: Any, stage: Any) -> step.MadeStep:
        if state.step == 5:
            points.update({path: path.read_bytes() for path in checkout.state.rglob("step-*/*")})
            monkeypatch.setattr(step, "batch_loss", lambda *_, **__: torch.tensor(math.nan, requires_grad=True))
        return compute(state, batches, stage)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "optimizer_step", breaks)
        error = refused(checkout, "stage2", "step 6:", "not finite", "Records of the batch: train-")
    assert len(points) == 2  # of step 4
    assert {path: path.read_bytes() for path in checkout.state.rglob("step-*/*")} == points
    spool = shelf.leftovers(checkout.state / "spool")[-1]
    events = read_events(spool)[0]
    assert [event["value"] for event in events if event["kind"] == "status"] == ["FAILED"]
    (told,) = [event["value"] for event in events if event["kind"] == "tag" and event["name"] == "error"]
    assert error.removeprefix("stage2: ").strip() in told
    monkeypatch.undo()
    assert run(checkout, "stage2") == 0


@pytest.mark.drill(26, "the network cable pulled: stages train and end")
def test_stages_need_no_network(
    checkout: Checkout, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(*arguments: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    assert run(checkout, "stage2") == 0
    assert run(checkout, "stage3") == 0


@pytest.mark.drill(26, "bitsandbytes missing or broken: one line with the fix")
def test_a_package_that_does_not_load(
    checkout: Checkout, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinygptv.steps import train

    def broken(context: Any) -> None:
        raise ImportError("libcudart.so.13: cannot open shared object file", name="bitsandbytes")

    monkeypatch.setattr(train, "run", broken)
    refused(checkout, "stage2", "bitsandbytes", "libcudart.so.13", "make install", "tinygptv doctor")

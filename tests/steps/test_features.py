"""The step ``features``: what is known is not encoded again, whatever changed, and the bytes are always the same."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkouts import run_step
from tests.data_sets import sample
from tests.steps.sets import CATS, DOGS, ENCODED, ROWS, Sets, cats, make_sets
from tinygptv.data import feature_rows
from tinygptv.data.blocks import BlockStore
from tinygptv.data.features import FeatureBlock, FeatureReader
from tinygptv.data.index import RecordIndex
from tinygptv.ground.file_names import IMAGE_ENCODER
from tinygptv.ground.files import read_json
from tinygptv.ground.graph import code_digests
from tinygptv.ground.processes import Interrupted
from tinygptv.steps import harness


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """What the step needs is there. Read only."""
    return make_sets(tmp_path_factory.mktemp("sets") / "checkout")


@pytest.fixture(scope="module")
def expected(made: Sets, tmp_path_factory: pytest.TempPathFactory, patches: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The output of a run that nothing disturbed."""
    checkout = made.afresh(tmp_path_factory.mktemp("expected") / "checkout")
    assert run_step(checkout.root, "features", patches) == 0
    return checkout.features()


@pytest.fixture
def sets(made: Sets, tmp_path: Path) -> Sets:
    """A checkout of the test's own in which ``features`` has not run."""
    return made.afresh(tmp_path / "checkout")


@pytest.fixture
def encoded(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, int]]:
    """``encoded(checkout)``: run the step; how many rows were encoded, and how many there are."""

    def go(checkout: Sets) -> tuple[int, int]:
        capfd.readouterr()
        code = run(checkout, "features")
        told = capfd.readouterr()
        assert code == 0, told.err
        found = re.search(r"features: (\d+) of (\d+) rows encoded", told.out)
        assert found is not None
        return int(found[1]), int(found[2])

    return go


@pytest.fixture
def as_from_nothing(run: Callable[..., int], tmp_path: Path) -> Callable[[Sets], None]:
    """What the step has made is, byte for byte, what it makes where nothing is known."""

    def check(checkout: Sets) -> None:
        other = checkout.afresh(tmp_path / "afresh")
        assert run(other, "features") == 0
        assert other.features() == checkout.features()
        shutil.rmtree(other.root)

    return check


def test_a_set_has_rows_at_the_resolutions_of_its_stages(
    sets: Sets, encoded: Callable[..., tuple[int, int]], expected: dict[str, bytes]
) -> None:
    assert encoded(sets) == (ENCODED, ROWS), "an image of two sets is encoded once"
    assert sets.features() == expected
    assert {name.rpartition("/")[0] for name in expected} == {"32/cats", "64/cats", "64/dogs", "views", ""}
    manifest = read_json(sets.data / "features" / "manifest.json")
    assert manifest["sets"] == {"cats": len(CATS), "dogs": len(DOGS)}
    assert manifest["images"] == len(CATS) + len(DOGS)
    for stage, names in (("stage1", ["cats"]), ("stage4", ["cats", "dogs"])):
        reader = FeatureReader(sets.data / "features", stage)
        for name in names:
            index = RecordIndex(sets.data / "shards" / name / "train.arrow")
            reader.check(name, {number: tar for number, (tar, _) in index.blocks.items()})
            images = [index.place(row) for row in range(len(index))]
            rows_BQD = reader.batch([image for image in images if image is not None])
            assert len(rows_BQD) == len({tuple(row_QD.flatten().tolist()) for row_QD in rows_BQD})
    assert "dogs" not in read_json(sets.data / "features" / "views" / "stage3.json")["sets"]


def test_rows_are_what_the_encoder_says_of_the_pixels(sets: Sets, encoded: Callable[..., tuple[int, int]]) -> None:
    from tinygptv.data.images import read_image
    from tinygptv.model.backbones import image_encoder
    from tinygptv.model.processing import build_image_processor

    encoded(sets)
    encoder = image_encoder(sets.config.model, sets.data / "backbones", torch.float32)
    reader = FeatureReader(sets.data / "features", "stage4")
    index = RecordIndex(sets.data / "shards" / "cats" / "train.arrow")
    for number in (0, 17):
        info, content = sample(number, "cats")
        assert info.image is not None
        image = bytes.fromhex(info.image.sha256)
        row = next(row for row in range(len(index)) if index.image(row) == image)
        block = int(next(index.column("block", range(row, row + 1)))[0])
        pixels_BCHW = build_image_processor(64)([read_image(content)], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            torch.testing.assert_close(reader.read("cats", block, image), encoder(pixels_BCHW)[0])


@pytest.mark.parametrize("late", [False, True], ids=["before it is on record", "after"])
@pytest.mark.parametrize("survivors", [0, 5, 18])
def test_a_kill_costs_a_tar_at_most(
    sets: Sets, run: Callable[..., int], encoded: Any, expected: Any, monkeypatch: Any, survivors: int, late: bool
) -> None:
    kept: list[set[tuple[str, bytes]]] = []
    first: list[int] = []

    def kill(self: BlockStore, name: str, inputs: str, files: Any, facts: Any, add: Any = BlockStore.add) -> Any:
        rows = {(name.partition("/")[0], image) for image in FeatureBlock(next(iter(files))).images}
        if len(kept) == survivors and not late:
            raise Interrupted(15)
        block = add(self, name, inputs, files, facts)
        kept.append(rows)
        if len(kept) == survivors + 1:
            raise Interrupted(15)
        return block

    def count(self: feature_rows._Rows, encode: Any = feature_rows._Rows.encode) -> None:
        first.append(len(self._images))
        encode(self)

    with monkeypatch.context() as patch:
        patch.setattr(BlockStore, "add", kill)
        patch.setattr(feature_rows._Rows, "encode", count)
        assert run(sets, "features") == 143
    assert not (sets.data / "features").exists()
    index = RecordIndex(sets.data / "shards" / "cats" / "train.arrow")
    largest = max(samples for _, samples in index.blocks.values())
    known = len(set().union(*kept))
    assert sum(first) - known <= 2 * largest, "a tar has a block at each of two resolutions"
    assert encoded(sets) == (ENCODED - known, ROWS)
    assert sets.features() == expected
    assert not list(sets.state.glob("features/*")) and not list(sets.state.rglob(".new"))


@pytest.mark.parametrize("workers", [2, *(pytest.param(n, marks=pytest.mark.drills) for n in (1, 4))])
def test_any_number_of_processes_makes_the_same_bytes(
    sets: Sets, encoded: Any, expected: dict[str, bytes], workers: int
) -> None:
    sets.edit("workers: 0", f"workers: {workers}")
    assert encoded(sets) == (ENCODED, ROWS)
    assert sets.features() == expected


def test_nothing_changed_is_nothing_encoded_and_files_are_linked(sets: Sets, encoded: Any, expected: Any) -> None:
    encoded(sets)
    files = set((sets.data / "features").rglob("*.safetensors"))
    inodes = {path.stat().st_ino for path in files}
    shutil.rmtree(sets.data / "features")  # as DVC does before it runs a step
    assert encoded(sets) == (0, ROWS)
    assert sets.features() == expected
    assert {path.stat().st_ino for path in files} == inodes


def test_one_in_a_hundred(sets: Sets, encoded: Any, as_from_nothing: Any) -> None:
    encoded(sets)
    sets.write("cats", cats([*CATS, 500]))
    assert encoded(sets) == (2, ROWS + 2), "added"
    as_from_nothing(sets)
    sets.write("cats", cats([*CATS[1:], 500]))
    assert encoded(sets) == (0, ROWS), "removed"
    as_from_nothing(sets)
    sets.write("cats", cats([*CATS[1:], 501]))
    assert encoded(sets) == (2, ROWS), "edited"
    as_from_nothing(sets)


def test_a_set_that_grows_into_twice_the_tars_keeps_its_rows(sets: Sets, encoded: Any, as_from_nothing: Any) -> None:
    encoded(sets)
    sets.write("cats", cats(range(130)))
    assert encoded(sets) == (30 + 10, ROWS + 60), "dogs have images 100 to 119 at 64 pixels"
    as_from_nothing(sets)
    sets.write("cats", cats(range(40)))
    assert encoded(sets) == (0, ROWS - 120)
    as_from_nothing(sets)
    stores = {path.name for path in (sets.state / "blocks" / "features").iterdir()}
    assert stores == {"2"}, "what is used no more is gone"


def test_what_does_not_decide_a_row_encodes_none(sets: Sets, encoded: Any, expected: dict[str, bytes]) -> None:
    encoded(sets)
    for old, new in (
        ("lora: {rank: 4", "lora: {rank: 2"),
        ("dropout: 0.1", "dropout: 0.0"),
        ("resid_pdrop: 0.1", "resid_pdrop: 0.0"),
        ('template: "###Human: {} ###Assistant: "', 'template: "Q: {} A: "'),
        ("batch_size: 16", "batch_size: 32"),
        ("{cats: 1.0, dogs: 1.0}", "{cats: 1.0, dogs: 3.0}"),
        ("epochs: 2", "epochs: 3"),
        ("workers: 0\n  prefetch: 2", "workers: 0\n  prefetch: 3"),
        ("vocab_size: 1024\n    hidden_size: 32", "vocab_size: 1024\n    hidden_size: 64"),
    ):
        sets.edit(old, new)
        assert encoded(sets) == (0, ROWS), old
        assert sets.features() == expected


def test_code_that_makes_no_row_encodes_none(sets: Sets, encoded: Any, expected: Any, monkeypatch: Any) -> None:
    encoded(sets)
    for module, number in (("data/tasks", 0), ("data/prompts", 0), ("data/views", 0), ("model/vision", ENCODED)):
        edited = {f"tinygptv/{module}.py": "another"}
        with monkeypatch.context() as patch:
            patch.setattr(harness, "code_digests", lambda *of, edited=edited: code_digests(*of) | edited)
            assert encoded(sets) == (number, ROWS), module
            assert sets.features() == expected


def test_other_words_about_the_same_images_encode_none(sets: Sets, encoded: Any, as_from_nothing: Any) -> None:
    encoded(sets)
    sets.write("cats", [sample(number, "cats", words="a cat") for number in CATS])
    assert encoded(sets) == (0, ROWS)
    as_from_nothing(sets)


def test_a_new_set_of_stage4_leaves_everything_else(sets: Sets, encoded: Any, expected: dict[str, bytes]) -> None:
    encoded(sets)
    sets.edit("  dogs: {", "  birds: {format: easy_vqa, licence: MIT}\n  dogs: {")
    sets.edit("{cats: 1.0, dogs: 1.0}", "{cats: 1.0, dogs: 1.0, birds: 1.0}")
    sets.write("birds", [sample(number, "birds") for number in range(95, 130)])
    assert encoded(sets) == (10, ROWS + 35), "twenty-five of its images are cats or dogs"
    now = sets.features()
    changed = {name for name, content in expected.items() if now[name] != content}
    assert changed == {"views/stage4.json", "manifest.json"}
    assert {name.rpartition("/")[0] for name in now.keys() - expected.keys()} == {"64/birds"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("features:\n  batch_size: 8", "features:\n  batch_size: 4"),
        ("deterministic: true", "deterministic: false"),
        ("encoder", ""),
    ],
)
def test_what_decides_a_row_encodes_all(sets: Sets, encoded: Any, as_from_nothing: Any, old: str, new: str) -> None:
    encoded(sets)
    if new:
        sets.edit(old, new)
    else:
        from tinygptv.model.weights import load_weights, save_weights

        path = sets.data / "backbones" / IMAGE_ENCODER
        save_weights(path, {name: tensor * 1.5 for name, tensor in load_weights(path).items()})
    assert encoded(sets) == (ENCODED, ROWS)
    as_from_nothing(sets)


def test_bfloat16_rows_where_the_run_computes_in_bfloat16(sets: Sets, encoded: Any) -> None:
    sets.edit("dtype: float32", "dtype: bfloat16")
    assert encoded(sets) == (ENCODED, ROWS)
    block = FeatureBlock(next(iter(sorted((sets.data / "features" / "64" / "cats").iterdir()))))
    assert block.row(next(iter(block.images))).dtype == torch.bfloat16


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_kept_block_that_is_not_as_it_was_is_made_again(
    sets: Sets, encoded: Any, expected: dict[str, bytes], damage: str
) -> None:
    encoded(sets)
    path = next((sets.state / "blocks" / "features").glob("*/32/cats/train-000003.safetensors"))
    images = len(FeatureBlock(path).images)
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + b"?")
    shutil.rmtree(sets.data / "features")
    assert encoded(sets) == (images, ROWS)
    assert sets.features() == expected


def test_damaged_shards_are_named(sets: Sets, refused: Callable[..., str]) -> None:
    folder = sets.data / "shards" / "cats"
    path = folder / "train-000002.tar"
    content = path.read_bytes()
    place = content.index(b"\x89PNG")
    mending = ("dvc checkout", "dvc repro -f -s shards")
    path.write_bytes(content[: place + 60] + bytes([content[place + 60] ^ 1]) + content[place + 61 :])
    refused(sets, "features", str(path), ".png: its bytes are not those that were written", *mending)
    place = content.index(b'"licence"')
    path.write_bytes(content[:place] + b'"Licence"' + content[place + 9 :])
    refused(sets, "features", str(path), "its digest is not the recorded one", *mending)
    path.write_bytes(content[:-20_000])
    refused(sets, "features", str(path), *mending)
    path.unlink()
    refused(sets, "features", f"{path} is missing", *mending)
    (folder / "train.arrow").unlink()
    refused(sets, "features", "train.arrow is missing", *mending)
    assert not list((sets.state / "blocks").rglob("*train-000002*"))


def test_a_stage_without_cached_features_has_none(sets: Sets, encoded: Any) -> None:
    content = sets.config_path.read_text()
    stage4 = content.index("stage4:")
    sets.config_path.write_text(
        content[:stage4] + content[stage4:].replace("  image_size: 64", "  image_size: 64\n  features: in_loop")
    )
    assert encoded(sets) == (len(CATS), len(CATS))
    view = read_json(sets.data / "features" / "views" / "stage4.json")
    assert view["sets"] == {} and view["image_size"] == 64


def test_progress_tells_images_and_time_left(sets: Sets, run: Any, monkeypatch: Any, capfd: Any) -> None:
    monkeypatch.setattr("tinygptv.ground.progress.PLAIN_INTERVAL_S", 0.0)
    assert run(sets, "features") == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("features: ") and "/s" in line]
    samples = len(CATS) + len(DOGS) + 5
    assert all(re.fullmatch(rf"features: \d+/{samples}, .* s left", line) for line in lines)
    assert len(lines) > 10 and lines[-1].startswith(f"features: {samples}/{samples}, ")

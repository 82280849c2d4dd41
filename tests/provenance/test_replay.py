"""``tinygptv replay``: the batch of a step is the one that the stage was trained on, and can be read."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import pytest

from tinygptv.cli import main
from tinygptv.data.records import ImageRecord
from tinygptv.data.shards import read_records
from tinygptv.ground.files import sha256_file
from tinygptv.provenance.replay import Replay, replay

TRACE = "data/smoke/stage1/trace.jsonl"


@pytest.fixture(scope="module")
def samples(with_stage1) -> list[ImageRecord]:
    """All that is trained on."""
    return list(read_records(sorted((with_stage1.data / "shards").glob("*/train-*.tar"))))


@pytest.fixture(scope="module")
def answers(samples) -> dict[str, list[str]]:
    """Record id → its answers."""
    return {record.id: [turn.answer for turn in record.turns] for sample in samples for record in sample.records}


@pytest.fixture(scope="module")
def stage4(with_stage1) -> Replay:
    """A batch of six tasks, of a stage that was not trained yet."""
    return replay(with_stage1.root, "smoke", "stage4", 2)


@pytest.mark.parametrize("step", [1, 7, 12])
def test_a_trained_step_has_the_records_of_the_trace(with_stage1, step):
    found = replay(with_stage1.root, None, "stage1", step)
    recorded = json.loads((with_stage1.root / TRACE).read_text().splitlines()[step - 1])
    assert (found.recorded, found.batch, found.equal) == (recorded, recorded["batch"], True)
    assert (found.steps, found.epoch, found.changed) == (12, 1 if step <= 6 else 2, {})
    assert [len(rows) for rows in found.micro_batches] == [4, 4]


def test_answers_and_their_end_marks_carry_loss_and_nothing_else_does(with_stage1, stage4, answers, samples):
    keys = {record.id: sample.key for sample in samples for record in sample.records}
    stage1 = replay(with_stage1.root, None, "stage1", 3)
    for found, mark in ((stage1, "\n"), (stage4, "###")):
        for row in found.rows:
            learned = [token for token in row.tokens if token.loss]
            assert "".join(token.text for token in learned) == mark.join([*answers[row.record], ""])
            assert [token.text for token in learned if token.kind == "end"] == [mark] * len(answers[row.record])
            assert row.loss_tokens == len(learned)
            assert row.image.key == keys[row.record]


def test_a_row_is_readable(stage4, smoke):
    assert {row.task for row in stage4.rows} <= set(smoke.stage4.mixture)
    slots = smoke.model.qformer.num_query_tokens
    for row, text in zip(stage4.rows, stage4.texts, strict=True):
        assert [token.kind for token in row.tokens].count("image") == slots
        assert text.count("<image>") == 1
        assert text.startswith(f"<|endoftext|>###Human: <Img><image></Img> [{row.task.removeprefix('easy_vqa/')}]")
        assert text.endswith("###")
    for rows in stage4.micro_batches:
        places = {row.length + row.padding for row in rows}
        assert places == {max(row.length for row in rows)}
    assert any(row.padding for row in stage4.rows)


def test_the_files_hold_everything_and_have_the_same_bytes_again(with_stage1, stage4, tmp_path, capsys):
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        arguments = ["replay", "stage4", "--step", "2", "--out", str(folder), "--root", str(with_stage1.root)]
        assert main(arguments) == 0
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert files[0] == files[1]
    assert [(folders[0] / path).read_bytes() for path in files[0]] == [
        (folders[1] / path).read_bytes() for path in files[1]
    ]
    out = capsys.readouterr().out
    assert f"batch {stage4.batch}: stage4 has no trace.jsonl to compare with\n" in out
    assert out.endswith(f"{folders[1] / 'stage4-step-00000002.png'}\n{folders[1] / 'stage4-step-00000002.json'}\n")

    content = json.loads((folders[0] / "stage4-step-00000002.json").read_bytes())
    samples = [sample for part in content["micro_batches"] for sample in part["samples"]]
    assert (content["batch"], content["recorded"], content["equal"]) == (stage4.batch, None, None)
    for sample, row, text in zip(samples, stage4.rows, stage4.texts, strict=True):
        own = {"length": row.length, "loss_tokens": row.loss_tokens, "decoded": text}
        assert sample == json.loads(json.dumps(asdict(row))) | own
        assert sha256_file(folders[0] / "images" / sample["image"]["file"]) == sample["image"]["sha256"]
        assert (with_stage1.data / "shards" / sample["image"]["shard"]).is_file()


def test_json_is_all_that_is_printed_and_the_files_are_in_the_state_folder(checkout, capsys):
    assert main(["replay", "stage1", "--step", "5", "--json", "--root", str(checkout.root)]) == 0
    content = json.loads(capsys.readouterr().out)
    folder = checkout.state / "replay"
    assert content == json.loads((folder / "stage1-step-00000005.json").read_bytes())
    assert content["equal"] is True
    assert content["recorded"]["step"] == 5
    assert (folder / "stage1-step-00000005.png").read_bytes().startswith(b"\x89PNG")


def answer(checkout, capsys, *arguments):
    capsys.readouterr()
    code = main(["replay", *arguments, "--root", str(checkout.root)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_another_batch_than_the_recorded_one(checkout, capsys):
    path = checkout.root / TRACE
    lines = path.read_text().splitlines()
    digest = json.loads(lines[4])["batch"]
    path.write_text("\n".join([*lines[:4], lines[4].replace(digest, "0" * 16), *lines[5:]]) + "\n")
    code, out, _ = answer(checkout, capsys, "stage1", "--step", "5")
    assert code == 1
    assert f"batch {digest}: differs from 0000000000000000 in trace.jsonl\n" in out
    assert answer(checkout, capsys, "stage1", "--step", "4")[0] == 0


def test_a_key_that_changes_the_tokens_but_not_the_records(checkout, capsys):
    checkout.edit("max_answer_tokens: 48", "max_answer_tokens: 2")
    checkout.edit("weight_decay: 0.05", "weight_decay: 0.04")  # has no part in the batch
    code, out, _ = answer(checkout, capsys, "stage1", "--step", "5")
    assert code == 1
    assert "the same records as in trace.jsonl, but not made in the same way\n" in out
    assert out.count("changed since the stage was trained:") == 1
    assert "config.stage1.max_answer_tokens (48 -> 2)" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stage5", "--step", "1"], ["stage 'stage5' is none of stage1, stage2, stage3, stage4"]),
        (["features", "--step", "1"], ["is none of"]),
        (["stage1", "--step", "0"], ["--step 0: stage1", "has the steps 1 to 12"]),
        (["stage1", "--step", "13"], ["--step 13: stage1", "has the steps 1 to 12"]),
        (["stage1", "--step", "1", "--profile", "nix"], ["nix.yaml does not exist"]),
    ],
)
def test_what_is_not_there_is_one_line(with_stage1, capsys, arguments, words):
    code, out, error = answer(with_stage1, capsys, *arguments)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert all(word in error for word in words), error


def test_a_stage_without_epochs_has_no_batch(checkout, capsys):
    checkout.edit("epochs: 2", "epochs: 0")
    assert main(["replay", "stage1", "--step", "1", "--root", str(checkout.root)]) == 2
    assert "stage1 of the profile smoke trains nothing (epochs: 0)" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["shards", "backbones", "features"])
def test_missing_data_is_one_line(checkout, capsys, step):
    shutil.rmtree(checkout.data / step)
    code, _, error = answer(checkout, capsys, "stage1", "--step", "1")
    assert (code, error.count("\n")) == (2, 1)
    assert f"data/smoke/{step} is missing; run `dvc repro {step}`" in error


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "ends at step 0"),
        ("{}\n" * 12, "line 5 is not the record of step 5"),
        ("[]\n" * 12, "line 5 is not the record of step 5"),
        ("\x00" * 3 + "\n" * 12, "line 5 is not the record of step 5"),
        ('{"step": 4, "batch": "a"}\n' * 12, "line 5 is not the record of step 5"),
    ],
)
def test_a_damaged_trace_is_one_line(checkout, capsys, content, words):
    (checkout.root / TRACE).write_text(content)
    code, _, error = answer(checkout, capsys, "stage1", "--step", "5")
    assert (code, error.count("\n")) == (2, 1)
    assert f"{TRACE}" in error and words in error


def test_a_damaged_shard_is_named(checkout, capsys):
    path = min((checkout.data / "shards").glob("*/train-*.tar"))
    path.write_bytes(path.read_bytes()[:5000])
    code, _, error = answer(checkout, capsys, "stage1", "--step", "1")
    assert (code, error.count("\n")) == (2, 1)
    assert str(path) in error

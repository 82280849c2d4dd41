"""What ``tinygptv data check`` finds, counts and refuses, by the command itself."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.own_data.conftest import talk
from tinygptv.cli import main
from tinygptv.own_data import check as module


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """``told(...)``: exit code of ``data check``, its JSON, and the line on stderr."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        code = main(["data", "check", *arguments, "--json"])
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.startswith("tinygptv: ")]
        assert len(lines) == (code == 2), err
        return code, json.loads(out) if out else None, "".join(lines)

    return run


def reasons(found: Any, record: str) -> list[str]:
    return [problem["reason"] for problem in found["problems"] if problem["record"] == record]


def test_good_records_are_counted_by_split_and_task(checkout, told):
    checkout.pictures(*range(20))
    checkout.records(*(talk(f"c{n}", f"{n % 20}.png") for n in range(30)), talk("text", None, ("hi", "hello")))
    checkout.profile({"cats": checkout.set(split={"val": 0.3})})
    code, found, _ = told("cats")
    of_set = found["sets"]["cats"]
    assert (code, found["trainable"], found["problems"]) == (0, True, [])
    assert (of_set["records"], of_set["images"], of_set["rejected"]) == (31, 20, 0)
    assert of_set["tasks"] == {"conversation": 31}
    assert of_set["splits"]["test"] == 0 < of_set["splits"]["val"] < of_set["splits"]["train"]
    assert sum(of_set["splits"].values()) == 31
    assert list(checkout.root.glob(".state/*")) == []


def test_what_is_left_out_has_its_record_and_reason(checkout, told):
    checkout.pictures(0, 1, 2)
    (checkout.root / "pictures" / "3.png").write_bytes(b"\x89PNG no picture")
    bad = [
        talk("gone", "9.png"),
        talk("out", "../cats.json"),
        talk("damaged", "3.png"),
        talk("mark", None, ("<image> what?", "a cat")),
        {"id": "odd", "image": "0.png", "conversations": talk("", None)["conversations"][:1]},
    ]
    checkout.records(*(talk(f"c{n}", f"{n}.png") for n in range(3)), *bad)
    checkout.profile(most_rejected=0.7)
    code, found, _ = told("cats")
    assert (code, found["sets"]["cats"]["rejected"], found["sets"]["cats"]["records"]) == (0, 5, 3)
    for name, part in {
        "gone": "'9.png' is not in the folder",
        "out": "lies outside of the folder",
        "damaged": "cannot be decoded",
        "mark": "names no picture",
        "odd": "the last question has no answer",
    }.items():
        (reason,) = reasons(found, name)
        assert part in reason
    checkout.profile(most_rejected=0.1)
    code, found, line = told("cats")
    assert (code, found["trainable"]) == (2, False)
    assert "5 of 8 records are left out, more than shards.max_rejected 0.1 allows" in line
    checkout.profile({"cats": checkout.set(max_rejected=0.2)}, most_rejected=0.9)
    assert "5 of 8 records are left out, more than data.cats.max_rejected 0.2 allows" in told("cats")[2]


def test_processes_find_what_this_one_finds(checkout, told, monkeypatch):
    checkout.pictures(*range(12))
    (checkout.root / "pictures" / "5.png").write_bytes(b"no picture")
    checkout.records(*(talk(f"c{n}", f"{n}.png") for n in range(12)))
    checkout.profile({"cats": checkout.set(split={"val": 0.4})})
    alone = told("cats")
    assert reasons(alone[1], "c5")[0].startswith("'5.png': the image cannot be decoded")
    monkeypatch.setattr(module, "ALONE", 0)
    monkeypatch.setattr(module, "BLOCK", 2)
    assert told("cats") == alone


def test_answers_that_a_stage_cuts_and_questions_without_room(checkout, told, with_tokenizer):
    with_tokenizer()
    checkout.pictures(*range(4))
    checkout.records(
        talk("short", "0.png"),
        talk("long", "1.png", ("<image>what?", "w x y z " * 20)),
        talk("turns", "2.png", *[("<image>what?", "a cat")] * 9),
    )
    checkout.profile(max_answer_tokens=12, max_sequence_tokens=90)
    code, found, _ = told("cats")
    of_stage = found["lengths"]["stages"]["stage4: cats"]
    assert (code, found["lengths"]["unit"], of_stage["records"], of_stage["answers"]) == (0, "tokens", 3, 11)
    assert (of_stage["cut_answers"], of_stage["sequence"]["limit"], of_stage["answer"]["limit"]) == (1, 90, 12)
    assert of_stage["left_out_turns"] > 0 == of_stage["too_long"]
    assert of_stage["answer"]["longest"] > 12
    assert reasons(found, "short") == []
    assert "is cut; raise max_answer_tokens (12)" in reasons(found, "long")[0]
    assert "later turns are left out" in reasons(found, "turns")[0]

    checkout.records(talk("short", "0.png"), talk("asks", "1.png", ("<image>" + "w x y z " * 60, "a cat")))
    code, found, line = told("cats")
    assert (code, found["trainable"]) == (2, False)
    assert "leaves no room for an answer" in line and "raise max_sequence_tokens" in line
    assert "leaves no room" in reasons(found, "asks")[0]


def test_without_a_tokenizer_bytes_are_counted_and_refuse_nothing(checkout, told):
    checkout.pictures(0)
    checkout.records(talk("asks", "0.png", ("<image>" + "w x y z " * 60, "a cat")))
    checkout.profile(max_sequence_tokens=90)
    code, found, _ = told("cats")
    assert (code, found["lengths"]["unit"]) == (0, "bytes")
    assert found["lengths"]["stages"]["stage4: cats"]["sequence"]["longest"] > 480

    checkout.records(talk("long", "0.png", ("<image>what?", "w x y z " * 20)))
    _, found, _ = told("cats")
    assert "bytes may be cut; raise max_answer_tokens (48)" in reasons(found, "long")[0]


def test_pictures_that_are_there_twice_and_those_on_both_sides(checkout, told):
    checkout.pictures(*range(8))
    shutil.copy(checkout.root / "pictures" / "3.png", checkout.root / "pictures" / "same.png")
    checkout.records(*(talk(f"c{n}", f"{n}.png") for n in range(8)), talk("again", "same.png"), talk("more", "3.png"))
    checkout.records(*(talk(f"t{n}", f"{n}.png") for n in (2, 3)), file="test.json")
    sets = {"cats": checkout.set(), "held": checkout.set("test.json", split={"test": 1.0})}
    checkout.profile(sets, mixture={"cats": 1.0})
    code, found, _ = told("cats")
    assert (code, found["sets"]["cats"]["doubled"], found["sets"]["held"]["leaked"]) == (0, 1, 2)
    assert "same.png is, byte for byte, 3.png of record c3" in reasons(found, "again")[0]
    assert reasons(found, "more") == []
    assert "is of test, and its picture is also trained on, by record c2 of cats" in reasons(found, "t2")[0]


def test_no_set_is_read_in_vain_where_another_is_missing(checkout, told):
    checkout.pictures(0, 1)
    checkout.records(talk("c0", "0.png"), talk("c1", "1.png"))
    checkout.profile({"gone": checkout.set("nosuch.json"), "cats": checkout.set()})
    code, found, line = told("cats")
    assert (code, found["sets"]["cats"]["records"], found["trainable"]) == (2, 2, False)
    assert "data set gone: " in line and "nosuch.json is missing; correct `files`" in line


@pytest.mark.parametrize(
    ("records", "keys", "said"),
    [
        ([], {}, "has no records; correct its `files`"),
        ([talk("c", "9.png")], {}, "1 of 1 records are left out; the first is c: its picture '9.png'"),
        ([talk("c", "0.png")], {"split": {"val": 1.0}}, "stage4.mixture names cats, of which there is no training"),
        ([talk("c", "0.png")], {"images": "nosuch"}, "nosuch is no folder; correct `images`"),
        ([talk("c", "0.png")], {"licence": "a\nb"}, "licence has the character U+000A"),
    ],
)
def test_where_training_would_fail_the_exit_code_is_2(checkout, told, records, keys, said):
    checkout.pictures(0)
    checkout.records(*records)
    checkout.profile({"cats": checkout.set(**keys)})
    code, found, line = told("cats")
    assert (code, found["trainable"]) == (2, False)
    assert said in line and any(said in problem["reason"] for problem in found["problems"])


def test_an_entry_of_a_task_that_the_set_has_not(checkout, told):
    checkout.pictures(0)
    checkout.records(talk("c", "0.png"))
    checkout.profile(mixture={"cats/refer": 1.0})
    code, _, line = told("cats")
    assert code == 2 and "names cats/refer, of which there is no training record (the set has conversation)" in line


def test_problems_are_bounded_and_counts_are_whole(checkout, told):
    checkout.pictures(0)
    checkout.records(talk("c", "0.png"), *(talk(f"gone{n}", f"x{n}.png") for n in range(1500)))
    checkout.profile()
    code, found, _ = told("cats")
    assert (code, found["sets"]["cats"]["rejected"], len(found["problems"])) == (2, 1500, 1000)


def test_hostile_texts_are_harmless(checkout, told, capsys):
    checkout.pictures(*range(3))
    texts = "a\tb \u202e ### <image> <|endoftext|> \x1b[31m"
    checkout.records(*(talk(f"c{n}", f"{n}.png", ("<image>what?", texts)) for n in range(3)), talk("\x1b[31m", "9.png"))
    checkout.profile()
    code, found, _ = told("cats")
    assert (code, found["sets"]["cats"]["records"]) == (0, 3)
    assert main(["data", "check", "cats"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_full_disk_is_one_line_and_leaves_nothing(checkout, told):
    from tests.limits import files_up_to

    checkout.pictures(0)
    checkout.records(*(talk(f"c{n}", "0.png", ("<image>what?", "a cat " * 400)) for n in range(200)))
    checkout.profile()
    with files_up_to(100_000):
        code, found, line = told("cats")
    assert (code, found) == (2, None) and "size limit" in line
    assert list(checkout.root.glob(".state/*")) == []

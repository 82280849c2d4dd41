"""What a person reads of a check: counts, lengths, what to do, no wider than a terminal."""

from __future__ import annotations

import pytest

from tests.own_data.conftest import talk
from tinygptv.cli import main
from tinygptv.own_data.check_table import WIDTH, advice


def test_a_table_and_the_first_problems(checkout, capsys):
    checkout.pictures(*range(4))
    bad = [talk(f"gone{n:02}", f"a very long name of a picture that nobody has {n}.png") for n in range(14)]
    checkout.records(*(talk(f"c{n}", f"{n}.png") for n in range(4)), *bad, talk("mark", None))
    checkout.profile(most_rejected=0.9)
    assert main(["data", "check", "cats"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[1].split() == ["cats", "llava", "4", "4", "4", "0", "0", "15"] and lines[2] == "cats is 4 conversation"
    assert "The first 10 of 15 problems:" in lines
    assert "      14  its picture … is not in the folder pictures" in lines
    assert out.count("add the file, or correct its name") == 10 and "gone09" in out and "gone10" not in out
    assert lines[-1] == "cats can be trained on" and "tinygptv" not in err
    assert max(map(len, lines)) <= WIDTH


def test_what_cannot_be_trained_on_ends_in_one_line(checkout, capsys):
    checkout.pictures(0)
    checkout.records(talk("c0", "0.png"), talk("c1", "9.png"))
    checkout.profile(most_rejected=0.1)
    assert main(["data", "check", "cats"]) == 2
    out, err = capsys.readouterr()
    assert "c1: its picture '9.png'" in out
    assert err.splitlines()[-1].startswith("tinygptv: cats cannot be trained on: data set cats: 1 of 2 records")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("its picture '1.png' is not in the folder p", "add the file, or correct its name or the folder `images`"),
        ("the image cannot be decoded (unknown format)", "replace the picture, or take the record out"),
        ("its picture is an address; get the pictures", ""),
        ("something of its own", "mend the record, or take it out"),
    ],
)
def test_each_problem_says_what_to_do(reason, told):
    assert advice(reason) == told

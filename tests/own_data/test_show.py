"""The picture of samples: those that are trained, spread, with boxes, and what is cut told apart."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.own_data.conftest import talk
from tinygptv.cli import main
from tinygptv.config.profiles import read_profile
from tinygptv.data.boxes import Box
from tinygptv.own_data import show as module
from tinygptv.own_data.sample_rows import SIDE, with_boxes
from tinygptv.provenance.batch_view import CUT, END, IMAGE

BOXED = ("<image>where?", "{<10><20><60><80>}")


@pytest.fixture
def rows(monkeypatch, checkout):
    """``rows(n)``: what is drawn of the profile, with the images."""

    def drawn(count: int = 12):
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(
                module, "draw", lambda parts, head, images, path, titles: found.append((parts, images, titles))
            )
            module.show(checkout.root, read_profile(checkout.root, "cats"), count, checkout.root / "x.png")
        return found[0]

    return drawn


def test_a_picture_is_made_and_says_how_many_tokens_carry_loss(checkout, with_tokenizer, capsys):
    with_tokenizer()
    checkout.pictures(*range(6))
    checkout.records(
        *(talk(f"c{n}", f"{n}.png", BOXED) for n in range(6)), talk("text", None, ("hi", "\u202e日本 $x$"))
    )
    checkout.profile({"cats": checkout.set(split={"val": 0.3})})
    assert main(["data", "show", "cats", "--n", "4"]) == 0
    path = checkout.root / ".state" / "cats" / "samples.png"
    assert Image.open(path).size[0] > 1000
    out = capsys.readouterr().out
    assert "stage4: cats: 4 samples; " in out and "of them carry loss" in out
    assert out.endswith("wrote .state/cats/samples.png\n")
    first = path.read_bytes()
    assert main(["data", "show", "cats", "--n", "4", "--out", "again.png"]) == 0
    assert (checkout.root / "again.png").read_bytes() == first
    assert sorted(found.name for found in (checkout.root / ".state").iterdir()) == ["cats"]


def test_only_what_trains_is_shown_evenly_spread(checkout, rows, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    checkout.pictures(*range(40))
    checkout.records(*(talk(f"c{n}", f"{n}.png") for n in range(40)))
    checkout.profile({"cats": checkout.set(split={"val": 0.5})})
    (part,), images, _ = rows(6)
    assert len({row.record for row in part}) == len(part) == len(images) == 6
    (every,), _, _ = rows(100)
    trained = [row.record for row in every]
    places = [trained.index(row.record) for row in part]
    assert 10 < len(trained) < 30
    assert [place * 6 // len(trained) for place in places] == [0, 1, 2, 3, 4, 5]


def test_a_record_without_a_picture_and_one_with_a_damaged_one(checkout, rows):
    checkout.pictures(0)
    (checkout.root / "pictures" / "1.png").write_bytes(b"no picture")
    checkout.records(talk("good", "0.png"), talk("bad", "1.png"), talk("text", None, ("hi", "hello")))
    checkout.profile()
    (part,), images, _ = rows()
    assert {row.record: row.image is not None for row in part} == {"good": True, "text": False}
    assert list(images) == ["0.png"]


def test_what_the_stage_cuts_is_there_and_told_apart(checkout, rows, with_tokenizer):
    with_tokenizer()
    checkout.pictures(0, 1, 2)
    checkout.records(
        talk("whole", "0.png", ("<image>what?", "yes")),
        talk("cut", "1.png", ("<image>what?", "yes and no " * 9), ("and?", "no " * 60)),
        talk("long", "2.png", ("<image>" + "what " * 99, "yes")),
    )
    checkout.profile(max_answer_tokens=8, max_sequence_tokens=70)
    (part,), _, (title,) = rows()
    of = {row.record: row for row in part}
    assert [token.kind for token in of["whole"].tokens].count(END) == 1 and not of["whole"].is_cut
    cut = [token for token in of["cut"].tokens if token.kind == CUT]
    assert "".join(token.text for token in cut).count("no") > 60
    kinds = [token.kind for token in of["cut"].tokens]
    assert kinds.count(END) == 2 and of["cut"].loss_tokens == 16 and not any(token.loss for token in cut)
    assert {token.kind for token in of["long"].tokens} == {CUT} and of["long"].loss_tokens == 0
    assert "3 samples, 2 of them cut; " in title
    assert f"{sum(row.loss_tokens for row in part)} of them carry loss" in title


def test_image_slots_stand_where_they_are_trained(checkout, rows, with_tokenizer):
    with_tokenizer()
    checkout.pictures(0)
    checkout.records(talk("c", "0.png"))
    checkout.profile()
    (part,), _, _ = rows()
    slots = read_profile(checkout.root, "cats").config.model.qformer.num_query_tokens
    assert [token.kind for token in part[0].tokens].count(IMAGE) == slots


@pytest.mark.parametrize("box", [(10, 20, 60, 80), (0, 0, 100, 100), (99, 99, 100, 100)])
def test_boxes_are_drawn_where_they_are(box: Box):
    plain = Image.new("RGB", (40, 30), "white")
    drawn = with_boxes(plain, (box,))
    assert max(drawn.size) == SIDE and plain.getcolors() == [(1200, (255, 255, 255))]
    left, top, right, bottom = drawn.convert("L").point(lambda value: 255 * (value < 255)).getbbox()
    wanted = [edge * drawn.size[place % 2] / 100 for place, edge in enumerate(box)]
    assert max(abs(a - b) for a, b in zip((left, top, right, bottom), wanted, strict=True)) <= 1


def test_nothing_to_show_is_one_line(checkout, capsys):
    checkout.pictures(0)
    checkout.records(talk("c", "9.png"))
    checkout.profile()
    assert main(["data", "show", "cats"]) == 2
    assert "stage4: cats: there is no record to train on; `tinygptv data check cats`" in capsys.readouterr().err
    checkout.profile(epochs=0)
    assert main(["data", "show", "cats"]) == 2
    assert "no stage of the profile cats trains" in capsys.readouterr().err

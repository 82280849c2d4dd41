"""Every benchmark by `tinygptv score`, on files in the official layouts: what the official scripts give, by hand.

The tables of normalised answers and the scores of VQA are those that the scripts themselves gave; the rest follows from
their definitions on a few questions.
"""

import json
import pickle

import pytest

from tinygptv import cli


@pytest.fixture
def score(tmp_path, capsys):
    """Score files: name → content, the predictions, and options; gives the JSON."""

    def run(benchmark, files, predictions, *options):
        folder = tmp_path / f"official-{len([*tmp_path.iterdir()])}"
        folder.mkdir()
        for name, content in files.items():
            if isinstance(content, bytes):
                (folder / name).write_bytes(content)
            elif name.endswith(".jsonl"):
                (folder / name).write_text("".join(f"{json.dumps(entry)}\n" for entry in content))
            else:
                (folder / name).write_text(json.dumps(content))
        answers = tmp_path / "answers"
        answers.write_text(predictions if isinstance(predictions, str) else json.dumps(predictions))
        arguments = ["score", benchmark, "--annotations", str(folder), "--predictions", str(answers), "--json"]
        assert cli.main([*arguments, *options]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def vqa_annotations(answers, ids):
    """VQA's files of questions with these answers each, with or without ids of the answers."""
    entries = []
    for number, given in enumerate(answers, start=1):
        said = [
            {"answer": text, "answer_confidence": "yes"} | ({"answer_id": place} if ids else {})
            for place, text in enumerate(given, start=1)
        ]
        entries.append({"question_id": number, "image_id": number, "answer_type": "other", "answers": said})
    asked = [{"question_id": entry["question_id"], "image_id": 1, "question": "?"} for entry in entries]
    return {
        "q.json": {"data_subtype": "val2014", "questions": asked},
        "a.json": {"data_subtype": "val2014", "annotations": entries},
    }


def vqa_accuracies(score, benchmark, people, answers, ids=True):
    """What each answer is worth, question by question."""
    found = []
    for given, answer in zip(people, answers, strict=True):
        if benchmark == "textvqa":
            data = [{"question_id": 1, "image_id": "x", "question": "?", "answers": given, "set_name": "val"}]
            files, entry = {"TextVQA_val.json": {"data": data}}, {"question_id": 1, "answer": answer}
        elif benchmark == "vizwiz":
            said = [{"answer": text, "answer_confidence": "yes"} for text in given]
            files = {"val.json": [{"image": "x.jpg", "question": "?", "answers": said, "answerable": 1}]}
            entry = {"image": "x.jpg", "answer": answer}
        else:
            files, entry = vqa_annotations([given], ids), {"question_id": 1, "answer": answer}
        found.append(score(benchmark, files, [entry])["official"]["accuracy"])
    return found


@pytest.mark.parametrize("benchmark", ["vqa_v2", "ok_vqa"])
@pytest.mark.parametrize("ids", [True, False])
def test_the_published_example_with_and_without_ids_of_answers(score, benchmark, ids):
    people = [["yes"] * 8 + ["no"] * 2] * 2
    assert vqa_accuracies(score, benchmark, people, ["yes", "no"], ids) == [1.0, pytest.approx(0.6, abs=1e-15)]


@pytest.mark.parametrize(
    ("benchmark", "expected"), [("vqa_v2", [0, 1, 1]), ("ok_vqa", [0, 1, 1]), ("textvqa", [1, 1, 1])]
)
def test_people_who_all_agree(score, benchmark, expected):
    people = [["black"] * 10, ["the cat"] * 10, ["t-shirt"] * 10]
    assert vqa_accuracies(score, benchmark, people, ["Black.", "the cat", "t-shirt"]) == expected


NORMALISED = {
    "Black.": "black", "None": "0", "Twenty": "twenty", "the cat": "cat", "two dogs": "2 dogs",
    "none of them": "0 of them", "1,000": "1000", "1,000 dollars, ok": "1000 dollars ok", "3.5": "3.5",
    "$3.50.": "$3.50", "7.30 am": "7.30 am", "a.m.": "am", "U.S.A.": "usa", "it's": "it's", "man's": "man's",
    "she's": "she's", "dont": "don't", "isnt": "isn't", "Im": "im", "yall": "y'all", "yes!": "yes",
    "yes, sir": "yes sir", "t-shirt": "t shirt", "mother-in-law": "mother in law", "left/right": "left right",
    "3:30": "3:30", "10%": "10%", "one-way": "1 way", "a": "", "": "", "an apple a day": "apple day",
    "café": "café", "6'2\"": "6'2",
}  # fmt: skip
"""Answer → as VQA's script makes it, which it leaves as it is."""
EVALAI = {"it's": "it 's", "man's": "man 's", "she's": "she 's"}
"""Where EvalAI's makes it otherwise."""


def test_every_answer_of_the_table_is_normalised_as_the_script_does(score):
    """Nine people say the normal form, which both sides keep, and one something else, so that B normalises."""
    people = [[normal] * 9 + ["zebra"] for normal in NORMALISED.values()]
    entries = [{"question_id": number, "answer": answer} for number, answer in enumerate(NORMALISED, start=1)]
    found = score("vqa_v2", vqa_annotations(people, ids=True), entries)
    assert (found["official"]["accuracy"], found["n"]) == (1.0, len(NORMALISED))
    others = [{**entry, "answer": f"{entry['answer']} zebra"} for entry in entries]
    assert score("vqa_v2", vqa_annotations(people, ids=True), others)["official"]["accuracy"] < 0.05


def test_of_many_periods_the_first_32_go(score):
    people = [["." * 40 + "x"] * 9 + ["zebra"]] * 3
    answers = ["." * 40 + "x", "." * 39 + "x", "x"]
    assert vqa_accuracies(score, "vqa_v2", people, answers) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("answer", EVALAI)
def test_evalai_parts_what_vqas_script_leaves(score, answer):
    people = [[EVALAI[answer]] * 9 + ["zebra"]]
    assert vqa_accuracies(score, "textvqa", people, [answer]) == [1.0]
    assert vqa_accuracies(score, "vqa_v2", people, [answer]) == [0.0]


def test_vizwiz_normalises_the_prediction_alone(score):
    people = [["2 dogs"] * 9 + ["x"], ["two dogs"] * 9 + ["x"]]
    assert vqa_accuracies(score, "vizwiz", people, ["Two dogs.", "two dogs"]) == [1.0, 0.0]


def test_vizwiz_tells_what_cannot_be_answered(score):
    entries = [
        {"image": f"{place}.jpg", "question": "?", "answerable": answerable, "answer_type": "other",
         "answers": [{"answer": text}] * 10}
        for place, (text, answerable) in enumerate([("unanswerable", 0), ("red", 1), ("unanswerable", 0), ("x", 1)])
    ]  # fmt: skip
    answers = [{"image": f"{place}.jpg", "answer": "unanswerable"} for place in (0, 1)]
    answers += [{"image": "2.jpg", "answer": "cup"}, {"image": "3.jpg", "answer": "x"}]
    found = score("vizwiz", {"val.json": entries}, answers)["official"]
    assert found == {"accuracy": 0.5, "unanswerable_ap": 0.5}  # half at the high score, half at the low one
    alone = [{"image": f"{place}.jpg", "answerability": place % 2} for place in range(3)]
    found = score("vizwiz", {"val.json": entries}, alone, "--allow-missing")
    assert found["official"] == {
        "accuracy": None,
        "unanswerable_ap": pytest.approx(2 / 3),
    }  # what is missing is ranked first
    assert found["authors"] == {"accuracy": None}, "no answer is not an empty one"


def test_gqa_is_equality_and_the_authors_take_a_part(score):
    questions = {
        str(place): {"question": "?", "imageId": f"n{place}", "answer": answer, "isBalanced": True,
                     "types": {"structural": structural}}
        for place, (answer, structural) in enumerate([("woman", "query"), ("man", "query"), ("no", "verify")])
    }  # fmt: skip
    answers = [{"questionId": str(n), "prediction": text} for n, text in enumerate(["man", "woman", "not sure"])]
    found = score("gqa", {"testdev_balanced_questions.json": questions}, answers)
    assert found["official"] == {"accuracy": 0.0, "per_answer_type": {"open": 0.0, "binary": 0.0}}
    assert found["authors"] == {"accuracy": pytest.approx(2 / 3)}
    assert (found["n"], found["expected_n"], found["complete"]) == (3, 12_578, False)


VSR = [
    {"image": f"{place}.jpg", "image_link": "http://x", "caption": "The cat is on the mat.", "label": label,
     "relation": "on", "subj": "cat", "obj": "mat"}
    for place, label in enumerate([1, 1, 0, 0])
]  # fmt: skip


def test_vsr_by_words_and_by_scores(score):
    words = [{"id": place, "prediction": text} for place, text in enumerate(["true", "false", "False.", "true"])]
    found = score("vsr", {"test.jsonl": VSR}, words)
    assert found["official"] == {"accuracy": 0.5, "auroc": None}
    assert any(note.startswith("auroc is undefined") for note in found["notes"])
    scores = [{"id": place, "score": value} for place, value in enumerate([0.9, 0.4, 0.4, 0.1])]
    assert score("vsr", {"test.jsonl": VSR}, scores)["official"] == {"accuracy": 0.75, "auroc": 3.5 / 4}


def test_iconqa_by_number_and_by_text_each_sub_task_alone(score):
    kinds = {"1": "choose_txt", "2": "choose_txt", "3": "fill_in_blank"}
    problems = {pid: {"question": "?", "ques_type": kind, "answer": 1, "choices": ["a", "b"]}
                for pid, kind in kinds.items()}  # fmt: skip
    problems["3"] = {"question": "?", "ques_type": "fill_in_blank", "answer": "12"}
    splits = {"choose_txt_test": ["1", "2"], "fill_in_blank_test": ["3"]}
    files = {"problems.json": problems, "pid_splits.json": splits}
    mixed = [{"pid": "1", "prediction": 1}, {"pid": 2, "prediction": "a"}]
    assert score("iconqa", files, mixed)["official"]["accuracy"] == 0.5
    blank = [{"pid": "3", "prediction": "12"}]
    assert score("iconqa", files, blank, "--split", "fill_in_blank_test")["official"]["accuracy"] == 1.0


MEMES = [{"id": 1000 + n, "img": f"img/{n}.png", "text": "t", "label": label} for n, label in enumerate([1, 0, 1, 0])]


def test_hateful_memes_from_the_servers_table(score):
    table = "id,proba,label\n1000,0.9,1\n1001,0.8,1\n1002,0.7,0\n1003,0.1,0\n"
    found = score("hateful_memes", {"dev_seen.jsonl": MEMES}, table)
    assert found["official"] == {"auroc": 0.75, "accuracy": 0.5}
    seen = [{**meme, "label": 1} for meme in MEMES]
    found = score("hateful_memes", {"test_seen.jsonl": seen}, table, "--split", "test_seen")
    assert found["official"] == {"auroc": None, "accuracy": 0.5} and found["expected_n"] == 1000


def test_a_okvqa_counts_without_leaving_anyone_out_and_without_the_difficult(score):
    entries = [
        {"split": "val", "image_id": n, "question_id": f"q{n}", "question": "?", "choices": list("abcd"),
         "correct_choice_idx": 2, "direct_answers": ["cup"] * 2 + ["mug"] * 8, "difficult_direct_answer": n == 2}
        for n in range(3)
    ]  # fmt: skip
    direct = [{"question_id": f"q{n}", "direct_answer": text} for n, text in enumerate(["cup", "mug", "cup"])]
    found = score("a_okvqa", {"aokvqa_v1p0_val.json": entries}, direct)
    assert found["official"] == {"direct_answer": pytest.approx((2 / 3 + 1) / 2), "multiple_choice": None}
    chosen = [{"question_id": f"q{n}", "multiple_choice": text} for n, text in enumerate("cca")]
    found = score("a_okvqa", {"aokvqa_v1p0_val.json": entries}, chosen)
    assert found["official"] == {"direct_answer": None, "multiple_choice": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("benchmark", "pickled", "split"),
    [("refcoco", "refs(unc).p", "testA"), ("refcoco_plus", "refs(unc).p", "val"), ("refcocog", "refs(umd).p", "test")],
)
def test_referring_expressions_from_half_an_overlap_on(score, benchmark, pickled, split):
    refs = [
        {"ref_id": 1, "ann_id": 7, "image_id": 3, "split": split, "sent_ids": [1, 2, 3, 4], "category_id": 1,
         "file_name": "x.jpg", "sentences": [{"sent_id": n, "sent": "cup", "raw": "Cup", "tokens": ["cup"]}
                                             for n in (1, 2, 3, 4)]}
    ]  # fmt: skip
    instances = {
        "images": [{"id": 3, "file_name": "COCO_train2014_000000000003.jpg", "width": 200, "height": 100}],
        "annotations": [{"id": 7, "image_id": 3, "bbox": [10.0, 10.0, 40.0, 40.0], "category_id": 1}],
    }
    boxes = [[10, 10, 40, 40], [10, 10, 40, 20], [10, 10, 40, 19], None]
    answers = [{"sent_id": n, "bbox": box} for n, box in enumerate(boxes, start=1)]
    files = {pickled: pickle.dumps(refs, protocol=2), "instances.json": instances}
    found = score(benchmark, files, answers, "--split", split)
    assert found["official"] == {"acc_at_0.5": 0.5}
    # 41 x 21 of 41 x 41 pixels is more than half, 41 x 20 is not
    assert found["authors"] == {"acc_at_0.5": 0.5}


def test_pope_reads_the_first_sentence(score):
    labels = ["yes", "yes", "no", "no"]
    lines = [{"question_id": n, "image": "x.jpg", "text": "?", "label": label} for n, label in enumerate(labels)]
    said = ["Yes.", "There is not. Yes.", "No, there is no cup.", "There is one. No."]
    answers = "\n".join(json.dumps({"question_id": n, "answer": text}) for n, text in enumerate(said))
    found = score("pope", {"coco_pope_adversarial.jsonl": lines}, answers)["official"]
    assert found == {"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "yes_ratio": 0.5}


def test_captions_that_are_the_true_ones_reach_all(score):
    true = {1: "a red circle lies on the green table", 2: "two dogs run over a wide field"}
    coco = {
        "images": [{"id": n, "file_name": f"COCO_val2014_{n:012d}.jpg"} for n in true],
        "annotations": [{"id": n, "image_id": n, "caption": f"{text.capitalize()}."} for n, text in true.items()],
    }
    files = {"captions_val2014.json": coco}
    found = score("captions", files, [{"image_id": n, "caption": text} for n, text in true.items()])
    assert found["official"] == {"cider": pytest.approx(10.0), "bleu_4": pytest.approx(1.0, abs=1e-8)}
    assert (found["n"], found["expected_n"], found["authors"]) == (2, None, None)
    crossed = score("captions", files, [{"image_id": n, "caption": true[3 - n]} for n in true])["official"]
    assert crossed["cider"] < 0.5 and crossed["bleu_4"] < 1e-3

"""VQA accuracy: an answer is right as far as people gave it too, in the five variants that are in use.

Each person is left out in turn; an answer is worth a third for each of the others who gave it, at most 1, and the mean
over all who are left out counts (Antol et al. 2015, "VQA: Visual Question Answering"). The variants differ in what of
prediction and true answers is made alike before they are compared, and give other numbers for the same answers.

Sources: A github.com/GT-Vision-Lab/VQA at c4e6a0e4; B the same as it is now (its issue 14), and LAVIS; C TRI-ML's
vlm-evaluation; D lmms-eval since its pull request 794, and with EvalAI's own words mmf's and TextVQA's evaluators;
E VizWiz's script. All match true answers by place: the scripts that compare whole entries take equal answers for
one person's where the files have no `answer_id`, and give 0.2 for 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""Punctuation that goes; `:`, `'`, `%`, `&` and `$` stay."""
ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {"none": "0"} | {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
_LISTED = """
aint:ain't arent:aren't cant:can't couldve:could've couldnt:couldn't couldn'tve:couldn't've couldnt've:couldn't've
didnt:didn't doesnt:doesn't dont:don't hadnt:hadn't hadnt've:hadn't've hadn'tve:hadn't've hasnt:hasn't havent:haven't
hed:he'd hed've:he'd've he'dve:he'd've hes:he's howd:how'd howll:how'll hows:how's Id've:I'd've I'dve:I'd've Im:I'm
Ive:I've isnt:isn't itd:it'd itd've:it'd've it'dve:it'd've itll:it'll let's:let's maam:ma'am mightnt:mightn't
mightnt've:mightn't've mightn'tve:mightn't've mightve:might've mustnt:mustn't mustve:must've neednt:needn't
notve:not've oclock:o'clock oughtnt:oughtn't ow's'at:'ow's'at 'ows'at:'ow's'at 'ow'sat:'ow's'at shant:shan't
shed've:she'd've she'dve:she'd've she's:she's shouldve:should've shouldnt:shouldn't shouldnt've:shouldn't've
shouldn'tve:shouldn't've somebody'd:somebodyd somebodyd've:somebody'd've somebody'dve:somebody'd've
somebodyll:somebody'll somebodys:somebody's someoned:someone'd someoned've:someone'd've someone'dve:someone'd've
someonell:someone'll someones:someone's somethingd:something'd somethingd've:something'd've
something'dve:something'd've somethingll:something'll thats:that's thered:there'd thered've:there'd've
there'dve:there'd've therere:there're theres:there's theyd:they'd theyd've:they'd've they'dve:they'd've
theyll:they'll theyre:they're theyve:they've twas:'twas wasnt:wasn't wed've:we'd've we'dve:we'd've weve:we've
werent:weren't whatll:what'll whatre:what're whats:what's whatve:what've whens:when's whered:where'd wheres:where's
whereve:where've whod:who'd whod've:who'd've who'dve:who'd've wholl:who'll whos:who's whove:who've whyll:why'll
whyre:why're whys:why's wont:won't wouldve:would've wouldnt:wouldn't wouldnt've:wouldn't've wouldn'tve:wouldn't've
yall:y'all yall'll:y'all'll y'allll:y'all'll yall'd've:y'all'd've y'alld've:y'all'd've y'all'dve:y'all'd've youd:you'd
youd've:you'd've you'dve:you'd've youll:you'll youre:you're youve:you've
"""
CONTRACTIONS = dict(pair.split(":") for pair in _LISTED.split())
"""Whole words; those with a capital never match, for words are in lower case by then."""
_STRAIGHT = ("aint", "arent", "cant", "couldve", "couldnt", "weve", "wheres", "whove")
BACK_TICKED = {
    word: right if word in _STRAIGHT else right.replace("'", "`")
    for word, right in CONTRACTIONS.items()
    if "'" not in word or word in ("couldn'tve", "hadn'tve")
}
"""The table of VizWiz: its apostrophes are back-ticks but for a few, so that most of its words match no true answer."""
_DIGIT_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32
"""How many periods go: the scripts give re.UNICODE, which is 32, in the place of the count."""
_REMEMBERED = 100
"""Characters of texts that are normalised once: most answers are short, and come again and again."""


def without_punctuation(text: str) -> str:
    """The first step: marks go where one of their kind touches a space, or digits have a comma; else they are spaces.

    Of the periods without a digit behind them only the first 32 go, as in the published scripts.
    """
    comma = _DIGIT_COMMA.search(text) is not None
    marks = {mark for mark in MARKS if mark in text}
    spaces = {ord(mark): "" if comma or f"{mark} " in text or f" {mark}" in text else " " for mark in marks}
    return _PERIOD.sub("", text.translate(spaces), count=_PERIODS)


def plain_words(text: str, contractions: Mapping[str, str] = CONTRACTIONS) -> str:
    """The second step: lower case, digits for number words ("none" is 0), no articles, apostrophes in contractions."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)


def on_one_line(text: str) -> str:
    """A text without line breaks, tabs, and space around it, before either step."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def normalised(text: str) -> str:
    """Both steps, as VQA's script does them."""
    return _remembered(text) if len(text) <= _REMEMBERED else _normalised(text)


def evalai_normalised(text: str) -> str:
    """Both steps as EvalAI does them: before, commas and question marks go, and `'s` becomes a word of its own."""
    words = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return normalised(words)


def vizwiz_normalised(text: str) -> str:
    """Both steps as VizWiz's script does them, with its own contractions."""
    return plain_words(without_punctuation(on_one_line(text)), BACK_TICKED)


def _normalised(text: str) -> str:
    return plain_words(without_punctuation(on_one_line(text)))


_remembered = lru_cache(maxsize=1 << 16)(_normalised)


@dataclass(frozen=True, slots=True)
class VqaVariant:
    """One of the definitions in use."""

    name: str
    says: str
    """What it does, for reports."""
    alike: Callable[[str, Sequence[str]], tuple[str, Sequence[str]]]
    """Prediction and true answers as they are compared."""

    def accuracy(self, answer: str, answers: Sequence[str], votes: Sequence[float] = ()) -> float:
        """What an answer is worth, 0..1; NaN where fewer than two people answered.

        Args:
            answer: the prediction.
            answers: those of the people.
            votes: how many people gave each; absent: one.
        """
        mine, theirs = self.alike(answer, answers)
        votes = votes or (1,) * len(theirs)
        return leave_one_out(sum(n for one, n in zip(theirs, votes, strict=True) if one == mine), sum(votes))


def leave_one_out(matches: float, people: float) -> float:
    """The mean over all people of min(1, matches among the others / 3); NaN where there are fewer than two.

    It is the number nearest to the fraction, which no order of the people changes.
    """
    if people < 2:
        return float("nan")
    return (matches * min(3, max(0, matches - 1)) + (people - matches) * min(3, matches)) / (3 * people)


def _variant_a(answer: str, answers: Sequence[str]) -> tuple[str, Sequence[str]]:
    theirs = [without_punctuation(one) for one in answers] if len(set(answers)) > 1 else answers
    return normalised(answer), theirs


def _variant_b(answer: str, answers: Sequence[str]) -> tuple[str, Sequence[str]]:
    mine, theirs = on_one_line(answer), [on_one_line(one) for one in answers]
    if len(set(theirs)) > 1:
        return normalised(mine), [normalised(one) for one in theirs]
    return mine, theirs


def _variant_b_folded(answer: str, answers: Sequence[str]) -> tuple[str, Sequence[str]]:
    mine, theirs = _variant_b(answer, answers)
    return mine.lower(), [one.lower() for one in theirs]


def _variant_c(answer: str, answers: Sequence[str]) -> tuple[str, Sequence[str]]:
    return normalised(answer), [without_punctuation(one) for one in answers]


def _variant_d(answer: str, answers: Sequence[str]) -> tuple[str, Sequence[str]]:
    return normalised(answer), [normalised(one) for one in answers]


def _variant_d_evalai(answer: str, answers: Sequence[str]) -> tuple[str, Sequence[str]]:
    return evalai_normalised(answer), [evalai_normalised(one) for one in answers]


def _variant_e(answer: str, answers: Sequence[str]) -> tuple[str, Sequence[str]]:
    return vizwiz_normalised(answer), answers


VARIANTS = {
    variant.name: variant
    for variant in (
        VqaVariant("A", "prediction normalised; true answers without punctuation, unless all agree", _variant_a),
        VqaVariant("B", "both normalised, unless all people agree: then both as they are", _variant_b),
        VqaVariant("B-folded", "as B, compared in lower case", _variant_b_folded),
        VqaVariant("C", "prediction normalised; true answers without punctuation", _variant_c),
        VqaVariant("D", "both normalised, always", _variant_d),
        VqaVariant("D-EvalAI", "both normalised, always, as EvalAI does it", _variant_d_evalai),
        VqaVariant("E", "prediction normalised with VizWiz's contractions; true answers as they are", _variant_e),
    )
}
"""Name → variant; B is the official one of VQA v2 and OK-VQA, D-EvalAI of TextVQA, E of VizWiz."""

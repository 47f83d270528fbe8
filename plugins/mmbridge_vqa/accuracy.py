"""VQA accuracy, bug for bug as the evaluators of VQAv2 have it: published numbers hold these bugs too."""

import re
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

Rules = Literal["official", "lavis"]
"""`official` is the evaluator of VQAv2 since March 2021; `lavis` the one before, which BLIP-2's numbers come from."""

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
DIGITS_WITH_COMMA = re.compile(r"\d,\d")
PERIOD = re.compile(r"(?!<=\d)\.(?!\d)")
"""Meant to spare the period of `3.` as well; a slip (`?!<=` for `?<!`) makes it spare that of `.5` only."""
MOST_PERIODS = int(re.UNICODE)
"""The original gives this flag in the place of a count."""
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: str(number) for number, word in enumerate(WORDS)}
NUMBERS["none"] = "0"
ARTICLES = frozenset({"a", "an", "the"})

CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've "
    "we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's "
    "who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've "
    "you'll you're you've he'd"
)


def _without_one_apostrophe(word: str) -> list[str]:
    places = [place for place, letter in enumerate(word) if letter == "'"]
    return [word[:place] + word[place + 1 :] for place in places]


CONTRACTIONS = {short: word for word in CONTRACTED.split() for short in _without_one_apostrophe(word)}
CONTRACTIONS["somebody'd"] = "somebodyd"  # the wrong way round in the original


def plain(text: str) -> str:
    """Make line ends and tabs blanks, and cut those at the ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def without_punctuation(text: str) -> str:
    """Delete or blank out 21 marks, and delete periods.

    A mark goes without a trace if it stands next to a blank anywhere in the text, or if the text has a comma between
    digits anywhere; else it leaves a blank.
    """
    left = text
    for mark in PUNCTUATION:
        vanishes = f"{mark} " in text or f" {mark}" in text or DIGITS_WITH_COMMA.search(text)
        left = left.replace(mark, "" if vanishes else " ")
    return PERIOD.sub("", left, count=MOST_PERIODS)


def normalised(text: str) -> str:
    """Normalise an answer whole: punctuation, lower case, number words, articles, contractions."""
    words = [NUMBERS.get(word, word) for word in without_punctuation(text).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def accuracy(answer: str, people: Sequence[str], rules: Rules = "official") -> float:
    """Give the accuracy of an answer, 0 to 1, against the answers of (ten) people.

    The mean over people of min(1, n/3), n being how many of the others gave the answer. What is normalised depends on
    the rules, and on whether all people agree: `official` then compares as it is, `lavis` normalises the answer always
    and people's answers only in punctuation, and not even that if they agree.
    """
    agree = len({plain(each) if rules == "official" else each for each in people}) == 1
    of_answer, of_people = _normalisations(rules, agree)
    given, theirs = of_answer(plain(answer)), [of_people(each) for each in people]
    others = combinations(theirs, len(theirs) - 1)
    return sum(min(1.0, rest.count(given) / 3) for rest in others) / len(theirs)


def _normalisations(rules: Rules, agree: bool) -> tuple[Callable[[str], str], Callable[[str], str]]:
    if rules == "lavis":
        return normalised, (str if agree else without_punctuation)
    return (str, plain) if agree else (normalised, lambda text: normalised(plain(text)))

"""Text cleaning, to the letter as BLIP-2 was trained with it: captions and questions are cleaned differently."""

import re

MAX_WORDS = 50
MARKS = re.compile(r"[.!\"()*#:;~]")
SPACES = re.compile(r"\s{2,}")


def clean_caption(caption: str, prompt: str = "") -> str:
    """Clean a caption: lower case, marks become blanks, runs of whitespace become one, at most 50 words.

    The prompt goes in front as it is. A caption of marks only becomes empty.
    """
    words = SPACES.sub(" ", MARKS.sub(" ", caption.lower())).rstrip("\n").strip(" ")
    return prompt + _first_words(words)


def clean_question(question: str) -> str:
    """Clean a question: lower case, marks vanish, blanks at the end go, at most 50 words.

    Question marks, commas, apostrophes and inner or leading whitespace stay.
    """
    return _first_words(MARKS.sub("", question.lower()).rstrip(" "))


def _first_words(text: str) -> str:
    # Split at single blanks: two blanks in a question hold an empty word between them, and it counts.
    return " ".join(text.split(" ")[:MAX_WORDS])

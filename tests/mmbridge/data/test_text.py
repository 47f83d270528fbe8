import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmbridge.data.text import clean_caption, clean_question

WORDS = [f"w{number}" for number in range(60)]

CAPTIONS = [
    ("A man riding a WAVE on top of a surfboard.", "a man riding a wave on top of a surfboard"),
    ('  Two   dogs -- one "red", one blue!  ', "two dogs -- one red , one blue"),
    ("Price: $5.99 (approx.)", "price $5 99 approx"),
    ("rock & roll; #1 hit~", "rock & roll 1 hit"),
    ("semi;colon:no space", "semi colon no space"),
    ("it's a T.V. set", "it's a t v set"),
    ("Café: naïve?", "café naïve?"),
    ("line one\nline two\n", "line one\nline two"),
    ("tab\tinside,  two\n\nbreaks", "tab\tinside, two breaks"),
    ("...", ""),
    (" ".join(WORDS), " ".join(WORDS[:50])),
]
QUESTIONS = [
    ("What is this?  ", "what is this?"),
    ("What is the name of the No. 1 player?", "what is the name of the no 1 player?"),
    ("Is it 5:30 p.m. or 17:30?", "is it 530 pm or 1730?"),
    ("  How many (red) cars * are there?", "  how many red cars  are there?"),
    ('What\'s on the "STOP" sign?', "what's on the stop sign?"),
    ("What color is the T.V.?\n", "what color is the tv?\n"),
    (" ".join(WORDS), " ".join(WORDS[:50])),
]


@pytest.mark.parametrize(("raw", "clean"), CAPTIONS)
def test_captions_are_cleaned_as_in_the_original_training(raw: str, clean: str) -> None:
    assert clean_caption(raw) == clean


@pytest.mark.parametrize(("raw", "clean"), QUESTIONS)
def test_questions_are_cleaned_as_in_the_original_training(raw: str, clean: str) -> None:
    assert clean_question(raw) == clean


def test_a_prompt_goes_in_front_uncleaned() -> None:
    assert clean_caption("A Dog.", prompt="a photo of ") == "a photo of a dog"
    assert clean_caption("A Dog.", prompt="Q: ") == "Q: a dog"


@given(st.text())
def test_a_clean_caption_is_clean(text: str) -> None:
    clean = clean_caption(text)
    assert clean_caption(clean) == clean
    assert len(clean.split(" ")) <= 50
    assert not set(clean) & set('.!"()*#:;~')
    assert "  " not in clean
    assert clean == clean.lower()
    assert clean.strip(" ") == clean


@given(st.text())
def test_a_clean_question_keeps_its_letters(text: str) -> None:
    clean = clean_question(text)
    assert len(clean.split(" ")) <= 50
    assert text.lower().translate(dict.fromkeys(map(ord, '.!"()*#:;~'))).startswith(clean)

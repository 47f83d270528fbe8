import random

import numpy as np
import pytest
import torch
from mmbridge_registry import Record, UserError

from mmbridge.data.order import Mixture
from mmbridge.data.samples import choose_words, image_number, read_sample, seeded


def record(**said) -> Record:
    return Record(b"", **said)


def test_each_caption_and_answer_is_drawn_about_equally_often() -> None:
    three = record(texts=("One.", "TWO", "three!"), question="Which (one)?", answers=("A", "b"))
    drawn = [choose_words(three, seed) for seed in range(3000)]
    for caption in ("one", "two", "three"):
        assert abs(sum(words.text == caption for words in drawn) - 1000) < 130
    assert abs(sum(words.answer == "A" for words in drawn) - 1500) < 140
    both = sum(words.answer == "A" and words.text == "one" for words in drawn)
    assert abs(both - 500) < 110, "the two draws must be independent"
    assert {words.question for words in drawn} == {"which one?"}


def test_captions_that_clean_to_nothing_are_never_drawn() -> None:
    assert {choose_words(record(texts=("...", "a cat.", "")), seed).text for seed in range(50)} == {"a cat"}


def test_a_record_with_a_question_needs_no_caption() -> None:
    words = choose_words(record(question="What?", answers=("x",)), 0)
    assert (words.text, words.question, words.answer) == ("", "what?", "x")
    assert choose_words(record(texts=("a",)), 0).answer is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "no caption"),
        ({"texts": ("...", "!")}, "empty after cleaning"),
        ({"question": " (...) ", "answers": ("a",)}, "question is empty"),
        ({"question": "why?", "answers": ()}, "no answer"),
        ({"question": "why?", "answers": (" ",)}, "no answer"),
    ],
)
def test_a_record_without_words_is_bad(said: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        choose_words(record(**said), 0)


def test_image_numbers_tell_images_apart() -> None:
    numbers = [
        image_number("a", record(image_id=7), 0),
        image_number("b", record(image_id=7), 0),
        image_number("a", record(image_id=8), 0),
        image_number("a", record(), 7),
        image_number("a", record(), 8),
    ]
    assert len(set(numbers)) == 5
    assert image_number("a", record(image_id=7), 3) == numbers[0]
    assert image_number("a", record(image_id=-(2**40)), 0) != numbers[0]
    assert all(0 <= number < 2**63 for number in numbers)


def test_the_samples_seed_rules_and_the_global_generators_do_not_notice(album, preparation) -> None:
    mixture = Mixture({"a": album()}, {"a": 1}, 0)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    one, _ = read_sample(mixture, preparation["transform"], 5)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    torch.manual_seed(999)
    again, _ = read_sample(mixture, preparation["transform"], 5)
    assert torch.equal(one.pixels, again.pixels)
    assert not torch.equal(one.pixels, read_sample(mixture, preparation["transform"], 6)[0].pixels)


def test_seeded_gives_back_the_state_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(3):
        assert torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(3)))
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("trouble", ["missing", "raises", "truncated", "silent"])
def test_a_bad_record_is_replaced_reported_and_the_rest_is_untouched(trouble: str, album, preparation) -> None:
    whole = Mixture({"a": album(size=30)}, {"a": 1}, 0)
    hurt = Mixture({"a": album(size=30, broken={4: trouble, 9: trouble})}, {"a": 1}, 0)
    replaced = 0
    for position in range(60):
        sample, bad = read_sample(hurt, preparation["transform"], position)
        if whole.place(position).index not in (4, 9):
            assert not bad
            assert torch.equal(sample.pixels, read_sample(whole, preparation["transform"], position)[0].pixels)
            continue
        replaced += 1
        assert bad[0].position == position
        assert bad[0].dataset == "a"
        assert bad[0].name in ({"record 4", "record 9"} if trouble == "raises" else {"4.jpg", "9.jpg"})
        assert bad[0].reason
        assert not any(f"picture {index} " in sample.text for index in (4, 9))
        again, _ = read_sample(hurt, preparation["transform"], position)
        assert (again.text, again.image_id) == (sample.text, sample.image_id)
    assert replaced == 4


def test_a_hundred_bad_records_in_a_row_stop_and_the_first_are_named(album, preparation) -> None:
    mixture = Mixture({"web": album(broken={-1: "missing"})}, {"web": 1}, 0)
    with pytest.raises(UserError, match=r"data\.web: 100 records in a row .*\d+\.jpg .*No such file.*; \.\.\."):
        read_sample(mixture, preparation["transform"], 0)


def test_an_error_in_the_transform_is_not_blamed_on_the_data(album) -> None:
    def broken(_):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        read_sample(Mixture({"a": album()}, {"a": 1}, 0), broken, 0)

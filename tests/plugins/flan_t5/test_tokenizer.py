"""T5's text format, by hand and by property."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_flan_t5.tokenizer import FlanT5Tokenizer
from mmbridge_flan_t5.vocabulary import StandInVocabulary
from mmbridge_registry import UserError
from mmbridge_registry.language_model import IGNORED
from mmbridge_registry.prompts import SLOT

PAD, END = 0, 1
A, PHOTO, OF, THE, CAT = 3, 16, 6, 4, 29
STAND_IN = FlanT5Tokenizer("random", 32128, 12)
words = st.text(st.sampled_from("abé \n?猫"), max_size=12)


@pytest.fixture
def tokenizer(folder):
    return FlanT5Tokenizer(str(folder), 125, 32)


def test_prefix_and_target_both_end(tokenizer):
    tokens = tokenizer(["a photo of", ""], ["the cat", "the"])
    assert tokens.inputs.ids.tolist() == [[A, PHOTO, OF, END], [END, PAD, PAD, PAD]]
    assert tokens.inputs.mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert tokens.labels.tolist() == [[THE, CAT, END], [THE, END, IGNORED]]


def test_truncation_keeps_the_end_on_both_sides(folder):
    tokens = FlanT5Tokenizer(str(folder), 125, 3)(["a photo of the cat"], ["the cat of a photo"])
    assert tokens.inputs.ids.tolist() == [[A, PHOTO, END]]
    assert tokens.labels.tolist() == [[THE, CAT, END]]


def test_generation_never_cuts(folder):
    tokens = FlanT5Tokenizer(str(folder), 125, 3).prompts(["", "a photo of the cat"], queries=2)
    assert tokens.ids.tolist() == [[SLOT] * 2 + [END] + [PAD] * 5, [SLOT] * 2 + [A, PHOTO, OF, THE, CAT, END]]


def test_decoding_drops_specials(tokenizer):
    assert tokenizer.decode(torch.tensor([[PAD, A, PHOTO, END], [PAD, THE, END, PAD]])) == ["a photo", "the"]


def test_it_is_pickled_light_and_works_on_the_other_side(tokenizer):
    tokens = tokenizer(["a"], ["cat"])
    data = pickle.dumps(tokenizer)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert "vocabulary" not in vars(again)
    assert torch.equal(again(["a"], ["cat"]).labels, tokens.labels)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        FlanT5Tokenizer(str(tmp_path), 125, 32)([""], ["a"])


def test_a_tokenizer_that_is_larger_than_the_model_is_refused(folder):
    with pytest.raises(UserError, match="124 tokens"):
        FlanT5Tokenizer(str(folder), 100, 32)([""], ["a"])


@given(st.text(max_size=30))
def test_the_stand_in_gives_every_text_back(text):
    vocabulary = StandInVocabulary()
    ids = vocabulary.encode(text)
    assert all(3 <= i < vocabulary.size for i in ids)
    assert vocabulary.decode([0, *ids, 1, 0]) == text


@settings(max_examples=60)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_a_batch_is_its_rows(pairs):
    prompts, targets = zip(*pairs, strict=True)
    tokens = STAND_IN(prompts, targets)
    assert max(tokens.inputs.ids.shape[1], tokens.labels.shape[1]) <= STAND_IN.max_length
    for row, (prompt, target) in enumerate(pairs):
        alone = STAND_IN([prompt], [target])
        assert torch.equal(tokens.inputs.ids[row][tokens.inputs.mask[row]], alone.inputs.ids[0])
        scored = tokens.labels[row] != IGNORED
        assert torch.equal(tokens.labels[row][scored], alone.labels[0])
        assert alone.labels[0, -1] == alone.inputs.ids[0, -1] == END

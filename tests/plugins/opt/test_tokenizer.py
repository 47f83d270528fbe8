"""OPT's text format, by hand and by property."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_opt.tokenizer import OptTokenizer
from mmbridge_opt.vocabulary import StandInVocabulary
from mmbridge_registry import UserError
from mmbridge_registry.language_model import IGNORED
from mmbridge_registry.prompts import SLOT

BOS, PAD, NEWLINE = 2, 1, 14
A, PHOTO, OF, THE, CAT = 101, 286, 267, 263, 299  # "a", " photo", " of", " the", " cat"
SPACE_A = 260  # " a"
STAND_IN = OptTokenizer("random", 50272, 12, False)
words = st.text(st.sampled_from("abé \n?猫"), max_size=12)


@pytest.fixture
def tokenizer(folder):
    return OptTokenizer(str(folder), 394, 32, False)


def test_a_caption_without_prompt_has_its_bos_as_target(tokenizer):
    tokens = tokenizer([""], ["a photo of the cat"])
    assert tokens.inputs.ids.tolist() == [[BOS, A, PHOTO, OF, THE, CAT, NEWLINE]]
    assert tokens.labels.tolist() == tokens.inputs.ids.tolist()


def test_a_prompt_is_not_scored_nor_its_bos(tokenizer):
    tokens = tokenizer(["a photo of"], ["the cat"])
    assert tokens.inputs.ids.tolist() == [[BOS, A, PHOTO, OF, THE, CAT, NEWLINE]]
    assert tokens.labels.tolist() == [[IGNORED] * 4 + [THE, CAT, NEWLINE]]


def test_blanks_at_the_seam_do_not_matter(tokenizer):
    assert torch.equal(
        tokenizer(["a photo of "], [" the cat "]).inputs.ids, tokenizer(["a photo of"], ["the cat"]).inputs.ids
    )


def test_short_rows_are_padded_on_the_right_and_pads_are_not_scored(tokenizer):
    tokens = tokenizer(["", "a photo of"], ["a", "the cat"])
    assert tokens.inputs.ids[0].tolist() == [BOS, A, NEWLINE, PAD, PAD, PAD, PAD]
    assert tokens.inputs.mask[0].tolist() == [True] * 3 + [False] * 4
    assert tokens.labels[0].tolist() == [BOS, A, NEWLINE] + [IGNORED] * 4


def test_truncation_cuts_the_newline_unless_it_is_kept(folder):
    cut = OptTokenizer(str(folder), 394, 4, False)([""], ["a photo of the cat"])
    assert cut.labels.tolist() == [[BOS, A, PHOTO, OF]]
    kept = OptTokenizer(str(folder), 394, 4, True)([""], ["a photo of the cat"])
    assert kept.labels.tolist() == kept.inputs.ids.tolist() == [[BOS, A, PHOTO, NEWLINE]]


@pytest.mark.parametrize("keep_newline", [False, True])
def test_a_prompt_that_fills_the_row_leaves_nothing_to_score(folder, keep_newline):
    tokens = OptTokenizer(str(folder), 394, 4, keep_newline)(["a photo of the"], ["cat"])
    assert tokens.inputs.ids.tolist() == [[BOS, A, PHOTO, OF]]
    assert tokens.labels.tolist() == [[IGNORED] * 4]


def test_generation_pads_on_the_left_and_never_cuts(folder):
    tokens = OptTokenizer(str(folder), 394, 3, False).prompts(["", "a photo of the cat"], queries=2)
    assert tokens.ids.tolist() == [[SLOT] * 2 + [PAD] * 5 + [BOS], [SLOT] * 2 + [BOS, A, PHOTO, OF, THE, CAT]]
    assert tokens.mask.tolist() == [[True] * 2 + [False] * 5 + [True], [True] * 8]


def test_decoding_drops_specials_and_the_newline(tokenizer):
    assert tokenizer.decode(torch.tensor([[A, PHOTO, NEWLINE, PAD], [SPACE_A, PHOTO, 2, 1]])) == ["a photo", "a photo"]


def test_it_is_pickled_light_and_works_on_the_other_side(tokenizer):
    tokens = tokenizer(["a"], ["cat"])
    data = pickle.dumps(tokenizer)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert "vocabulary" not in vars(again)
    assert torch.equal(again(["a"], ["cat"]).labels, tokens.labels)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        OptTokenizer(str(tmp_path), 394, 32, False)([""], ["a"])


def test_a_tokenizer_that_is_larger_than_the_model_is_refused(folder):
    with pytest.raises(UserError, match="393 tokens"):
        OptTokenizer(str(folder), 300, 32, False)([""], ["a"])


@given(st.text(max_size=30))
def test_the_stand_in_gives_every_text_back(text):
    vocabulary = StandInVocabulary()
    ids = vocabulary.encode(text)
    assert all(4 <= i < 50272 for i in ids)
    assert vocabulary.decode([*ids, 2, 1]) == text


@settings(max_examples=60)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_a_batch_is_its_rows_and_labels_are_tokens(pairs):
    prompts, targets = zip(*pairs, strict=True)
    tokens = STAND_IN(prompts, targets)
    assert tokens.inputs.ids.shape == tokens.inputs.mask.shape == tokens.labels.shape
    assert tokens.labels.shape[1] <= STAND_IN.max_length
    for row, (prompt, target) in enumerate(pairs):
        alone = STAND_IN([prompt], [target])
        mask = tokens.inputs.mask[row]
        assert torch.equal(tokens.inputs.ids[row][mask], alone.inputs.ids[0])
        assert torch.equal(tokens.labels[row][mask], alone.labels[0])
        assert (tokens.labels[row][~mask] == IGNORED).all()
        scored = alone.labels[0] != IGNORED
        assert torch.equal(alone.labels[0][scored], alone.inputs.ids[0][scored])
        assert alone.inputs.ids[0, 0] == 2

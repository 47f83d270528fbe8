"""Tokens of captions: what BERT would give, [SEP] kept, padded to the longest; it travels to workers."""

import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_qformer.tokenizer import QFormerTokenizer
from mmbridge_registry import UserError

WORDS = ["a", "red", "dog", "cat", "horse", "grass", "riding", "xyzzy", "-", "é"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def tokenizer(wordpiece):
    return QFormerTokenizer(wordpiece, max_length=8)


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS)
def test_rows_begin_end_and_pad_as_they_should(tokenizer, texts):
    tokens = tokenizer(texts)
    lengths = tokens.mask.sum(1)
    assert tokens.ids.shape == tokens.mask.shape == (len(texts), int(lengths.max()))
    assert lengths.max() <= 8
    assert (tokens.ids[:, 0] == 2).all()
    assert (tokens.ids[torch.arange(len(texts)), lengths - 1] == tokenizer.end).all()
    assert (tokens.ids[~tokens.mask] == tokenizer.padding).all()
    assert (tokens.mask[:, :-1] >= tokens.mask[:, 1:]).all()
    for row, text in enumerate(texts):
        alone = tokenizer([text])
        assert tokens.ids[row, : lengths[row]].equal(alone.ids[0])


def test_special_ids_are_those_of_the_original(tokenizer):
    assert (tokenizer.padding, tokenizer.end, tokenizer.start, len(tokenizer)) == (0, 3, 199, 200)
    assert tokenizer(["[DEC]"]).ids.tolist() == [[2, 199, 3]]


def test_decode_gives_the_words_back(tokenizer):
    tokens = tokenizer(["a red dog", "cat"])
    assert tokenizer.decode(tokens.ids) == ["a red dog", "cat"]


def test_pickles_before_and_after_use(tokenizer, wordpiece):
    before = tokenizer(["a dog"])
    for one in (tokenizer, QFormerTokenizer(wordpiece, max_length=8)):
        copy = pickle.loads(pickle.dumps(one))
        assert copy(["a dog"]).ids.equal(before.ids)
        assert copy.max_length == 8


def test_an_empty_folder_is_refused_when_used(tmp_path):
    tokenizer = QFormerTokenizer(tmp_path)
    with pytest.raises(UserError, match="there is no tokenizer in"):
        tokenizer(["a"])


def test_the_plugin_is_found_without_torch():
    code = (
        "import mmbridge_qformer, mmbridge_mlp, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

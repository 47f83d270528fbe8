"""The masks, against the sentences that define them."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_qformer import masks


def test_the_example_in_the_docstring_is_true():
    assert doctest.testmod(masks) == doctest.TestResults(failed=0, attempted=1)


RULES = {
    "contrast": lambda row, column, queries: (row < queries) == (column < queries),
    "decode": lambda row, column, queries: column < queries or (row >= queries and column <= row),
    "match": lambda row, column, queries: True,
}


@pytest.mark.parametrize("reading", RULES)
@settings(max_examples=20, deadline=None)
@given(queries=st.integers(0, 4), lengths=st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_each_pair_obeys_its_rule(reading, queries, lengths):
    text = torch.arange(4) < torch.tensor(lengths)[:, None]
    mask = masks.visibility(reading, queries, text)
    assert mask.shape == (len(lengths), queries + 4, queries + 4)
    for image, length in enumerate(lengths):
        for row in range(queries + 4):
            for column in range(queries + 4):
                real = column < queries + length
                assert mask[image, row, column] == (real and RULES[reading](row, column, queries))

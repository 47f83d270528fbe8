"""Prompts with places for images: counted, cut, embedded."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmbridge_registry import UserError
from mmbridge_registry.prompts import SLOT, check_images, count_images, embed, texts_around, with_slots
from torch import nn

words = st.text(st.sampled_from("ab <>\n"), max_size=8)


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("", ["", ""]),
        (" a photo of ", ["", " a photo of "]),
        ("<image>", ["", ""]),
        ("<image> a photo of ", ["", "a photo of "]),
        (" \n<image>\n a", ["", "a"]),
        ("a <image> b", ["a", " b"]),
        ("a<image>b", ["a", "b"]),
        ("<image> <image>  a <image> b", ["", "", "a", " b"]),
        ("a\n<image>\nb <image> ", ["a\n", "\nb", " "]),
        ("<Image> <image", ["", "<Image> <image"]),
    ],
)
def test_texts_around_images(prompt, texts):
    assert texts_around(prompt) == texts
    assert count_images(prompt) == len(texts) - 1


@given(words)
def test_a_prompt_that_begins_with_its_only_image_is_the_plain_one(text):
    plain = text.lstrip().replace("<image>", "")
    assert texts_around(f"<image> {plain}") == texts_around(plain)
    assert count_images(f"<image> {plain}") == count_images(plain) == 1


@given(st.lists(words, min_size=2, max_size=5))
def test_no_text_is_lost_and_none_is_swapped(texts):
    cut = texts_around("<image>".join(texts))
    assert len(cut) == len(texts)
    assert [text.strip() for text in cut] == [text.strip() for text in texts]


def test_as_many_images_as_places():
    check_images(["", "a", "<image> a", "a <image><image>"], 5)
    check_images([], 0)
    for images in (0, 1, 3):
        with pytest.raises(UserError, match=f"given: {images}, places for them: 2") as error:
            check_images(["<image> or <image>?"], images)
        assert error.value.where == "prompt '<image> or <image>?'"
        assert "<image> once per image" in error.value.do
    with pytest.raises(UserError, match="given: 0, places for them: 1"):
        check_images(["a photo of"], 0)
    with pytest.raises(UserError, match="given: 1, places for them: 0"):
        check_images([], 1)


def test_a_batch_that_does_not_fit_names_a_prompt_with_places():
    with pytest.raises(UserError) as error:
        check_images(["a", "b <image>", "c"], 4)
    assert error.value.where == "prompt 'b <image>' and 2 more"
    assert len(str(error.value).splitlines()) == 1


def test_slots_take_the_images_in_order():
    table = nn.Embedding(5, 4).requires_grad_(False)
    images = torch.randn(3, 2, 4)
    rows = [with_slots([[], [1, 2]], 2), with_slots([[3], [], [4]], 2)]
    assert rows == [[SLOT, SLOT, 1, 2], [3, SLOT, SLOT, SLOT, SLOT, 4]]
    ids = torch.tensor([[rows[0][0], rows[0][1], 0, 0, *rows[0][2:]], rows[1]])
    embeddings = embed(ids, images.double(), table)
    assert embeddings.dtype == table.weight.dtype
    pad = table.weight[0]
    assert torch.equal(embeddings[0], torch.stack([*images[0], pad, pad, *table.weight[[1, 2]]]))
    assert torch.equal(embeddings[1], torch.stack([table.weight[3], *images[1], *images[2], table.weight[4]]))


def test_gradient_goes_back_to_each_image():
    images = torch.randn(2, 1, 4, requires_grad=True)
    embed(torch.tensor([[SLOT, 1, SLOT]]), images, nn.Embedding(2, 4))[0, 2].sum().backward()
    assert images.grad is not None
    assert images.grad.sum((1, 2)).tolist() == [0, 4]

"""From a conversation to a prompt: the rule, line by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmbridge_registry.language_model import IMAGE

from mmbridge.serve import prompts
from mmbridge.serve.asked import Message
from mmbridge.serve.refusal import Refusal

A, B, C = "data:a", "data:b", "data:c"


def turn(role, *parts):
    content = [
        {"type": "image_url", "image_url": {"url": part}}
        if part.startswith("data:")
        else {"type": "text", "text": part}
        for part in parts
    ]
    return Message.model_validate({"role": role, "content": content})


def user(*parts):
    return turn("user", *parts)


def assistant(text):
    return turn("assistant", text)


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([user(A)], ""),
        ([user(A, "")], ""),
        ([user(A, "What COLOUR is it?")], "Question: what colour is it? Answer:"),
        ([user("what is it?", A)], "Question: what is it? Answer:"),
        ([user(A, "Q: WHAT?! Answer:")], "Q: WHAT?! Answer:"),
        ([user(A, "{} (and) {}")], "Question: {} and {} Answer:"),
        ([user(A), assistant("a photo of")], "a photo of"),
        ([user(A), assistant("a photo of a")], "a photo of a"),
        ([turn("system", "You See."), user(A, "What?")], "You See. Question: what? Answer:"),
        ([turn("developer", "Be brief"), user(A, "What?")], "Be brief Question: what? Answer:"),
        (
            [user(A, "what?"), assistant("A cat"), user("what colour?")],
            "Question: what? Answer: A cat. Question: what colour? Answer:",
        ),
        ([user(A, "what?"), assistant("A cat."), user("so?")], "Question: what? Answer: A cat. Question: so? Answer:"),
        ([user(A, "what?"), assistant(""), user("so?")], "Question: what? Answer: Question: so? Answer:"),
        ([user(A, B, "same?")], "<image> <image> Question: same? Answer:"),
        ([user(A, "this or", B, "that?")], "<image> Question: this or <image> that? Answer:"),
        ([user(A), assistant("a cat"), user(B)], "<image> a cat. <image>"),
        (
            [user(A, "what?"), assistant("cat"), user(B, "what?")],
            "<image> Question: what? Answer: cat. <image> Question: what? Answer:",
        ),
        ([user(A, B, "<image> and <image> Answer:")], "<image> and <image> Answer:"),
        ([user(A, B, "<image> <image> Same?")], "<image> <image> Question: same? Answer:"),
        ([user(A, "<image> what?")], "<image> Question: what? Answer:"),
    ],
)
def test_the_rule(messages, prompt):
    images = [one for message in messages for one in (A, B, C) if one in str(message)]
    assert prompts.read(messages) == (images, prompt)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([user("what?")], "no image"),
        ([user("<image> what?")], "no image"),
        ([user(A, "<image> <image> what?")], "sent: 1.*: 2"),
        ([user(A, B, "<image> what?")], "sent: 2.*: 1"),
        ([user(A, "<IMAGE> what?")], "sent: 1.*: 2"),
        ([user(A, B, "<im.age> what?")], "sent: 2.*: 3"),
        ([turn("system", A), user("what?")], "system"),
        ([turn("assistant", A), user("what?")], "assistant"),
    ],
)
def test_images_and_places_that_disagree_are_refused(messages, said):
    with pytest.raises(Refusal, match=said) as refused:
        prompts.read(messages)
    assert refused.value.status == 400


words = st.lists(st.sampled_from([A, B, "<image>", "Cat", "Answer:", "!", "{}", " ", "<IMAGE>"]), max_size=5)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), words), min_size=1, max_size=4))
def test_whatever_is_not_refused_has_a_place_for_every_image(turns):
    try:
        images, prompt = prompts.read([turn(role, *parts) for role, parts in turns])
    except Refusal:
        return
    assert prompt.count(IMAGE) == len(images) or (prompt.count(IMAGE) == 0 and len(images) == 1)
    assert len(images) == sum(part.startswith("data:") for _, parts in turns for part in parts)

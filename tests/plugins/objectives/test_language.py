"""What language models read and write: splits, prompts, questions, and the mean of their loss."""

from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmbridge_objectives import CaptionOptions, PrefixOptions
from mmbridge_objectives.lm import LanguageModelling
from mmbridge_objectives.prefix_lm import PrefixLanguageModelling, split
from mmbridge_registry import Draft, LanguageTokens, Sample, TokenLoss, Tokens
from torch import nn
from toys.stage1 import toy_batch, toy_step
from toys.text_bridge import WIDTH

WORDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=12)


def sample(text="a red cube", question=None, answer=None, seed=0):
    return Sample(torch.zeros(3, 1, 1), text, question, answer, image_id=0, position=0, seed=seed)


@settings(deadline=None, max_examples=50)
@given(WORDS, st.integers())
def test_split_lies_between_the_first_word_and_the_middle_and_loses_nothing(words, seed):
    prefix, suffix = split(" ".join(words), Random(seed))
    assert 1 <= len(prefix.split(" ")) <= len(words) / 2
    assert f"{prefix} {suffix}" == " ".join(words)


@settings(deadline=None, max_examples=50)
@given(st.text(), st.integers())
def test_any_text_is_restored(text, seed):
    prefix, suffix = split(text, Random(seed))
    assert text in (suffix, f"{prefix} {suffix}")


def test_every_cut_is_drawn_alike():
    cuts = [len(split("a b c d e f g h", Random(seed))[0].split()) for seed in range(4000)]
    assert {cut: round(cuts.count(cut) / 1000, 1) for cut in set(cuts)} == {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}


@pytest.mark.parametrize("text", ["cat", ""])
def test_one_word_is_all_suffix(text):
    assert split(text, Random(0)) == ("", text)


def test_the_sample_decides_its_split():
    objective = PrefixLanguageModelling(PrefixOptions())
    text = " ".join("abcdefghij")
    splits = [objective.prefix_and_suffix(sample(text, seed=seed)) for seed in range(30)]
    assert splits == [objective.prefix_and_suffix(sample(text, seed=seed)) for seed in range(30)]
    assert len(set(splits)) == 5


@pytest.mark.parametrize("objective", [LanguageModelling(CaptionOptions()), PrefixLanguageModelling(PrefixOptions())])
def test_questions_are_answered(objective):
    asked = sample("unused", "what {is} this?", "a cube")
    read_and_written = getattr(objective, "prompt_and_target", None) or objective.prefix_and_suffix
    assert read_and_written(asked) == ("Question: what {is} this? Answer:", "a cube")


def test_captions_follow_the_prompt():
    assert LanguageModelling(CaptionOptions()).prompt_and_target(sample()) == ("", "a red cube")
    prompted = LanguageModelling(CaptionOptions(prompt="a photo of"))
    assert prompted.prompt_and_target(sample()) == ("a photo of", "a red cube")


@pytest.mark.parametrize("prompt", ["Question: Answer:", "{} {}"])
def test_a_prompt_without_one_place_for_the_question_is_refused(prompt):
    with pytest.raises(ValueError, match="exactly once"):
        CaptionOptions(question_prompt=prompt)


class Scribe(nn.Module):
    """A language model whose loss is the soft prompt's sum for each of 3 tokens, and its own tokenizer."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def loss(self, soft_prompt, tokens):
        self.seen.append((soft_prompt, tokens))
        return TokenLoss(soft_prompt.sum() * 3, torch.tensor(3))

    def tokenize(self, prompts, targets):
        self.seen.append((tuple(prompts), tuple(targets)))
        empty = Tokens(torch.zeros(len(prompts), 1).long(), torch.ones(len(prompts), 1).bool())
        return LanguageTokens(empty, torch.zeros(len(prompts), 1).long())


@pytest.mark.parametrize(
    ("name", "objective", "expected"),
    [
        ("lm", LanguageModelling(CaptionOptions()), (("", "Question: q? Answer:"), ("a b", "yes"))),
        ("prefix_lm", PrefixLanguageModelling(PrefixOptions()), (("a", "Question: q? Answer:"), ("b", "yes"))),
    ],
)
def test_from_samples_to_the_loss(name, objective, expected):
    scribe = Scribe()
    prepared = objective.prepare(Draft([sample("a b"), sample("", "q?", "yes")], None, scribe.tokenize))
    assert set(prepared) == {name}
    assert scribe.seen.pop() == expected
    step = toy_step(replace(toy_batch(2), prepared=prepared), language_model=scribe, projection=nn.Linear(WIDTH, 4))
    total = objective(step).total
    soft_prompt, tokens = scribe.seen.pop()
    assert tokens is prepared[name]
    assert soft_prompt is step.soft_prompt
    torch.testing.assert_close(total, soft_prompt.sum() * 3)
    assert objective.count(step) == 2  # each of the two has one label, and it is scored

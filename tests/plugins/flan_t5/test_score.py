"""FlanT5's ranking against its loss."""

import pytest
import torch
from mmbridge_flan_t5 import FlanT5Options, build_flan_t5, language_model

PROMPTS = ["a photo of", "question: what color is it? short answer:", ""]
CANDIDATES = [["the cat", "a man on the table", "red"], [], ["two dogs", "it"]]


@pytest.mark.parametrize("at_once", [128, 2])
def test_a_score_is_minus_the_summed_loss(t5, soft_prompt, monkeypatch, at_once):
    monkeypatch.setattr(language_model, "CANDIDATES", at_once)
    scores = t5.score(soft_prompt[:3], PROMPTS, CANDIDATES)
    assert [len(row) for row in scores] == [3, 0, 2]
    for row, texts in enumerate(CANDIDATES):
        for place, text in enumerate(texts):
            loss = t5.loss(soft_prompt[row : row + 1], t5.tokenizer([PROMPTS[row]], [text]))
            torch.testing.assert_close(scores[row][place], -loss.total, rtol=1e-5, atol=1e-5)


def test_the_encoder_reads_once(t5, soft_prompt):
    seen = []
    hook = t5.lm.get_encoder().register_forward_hook(lambda *_: seen.append(1))
    t5.score(soft_prompt[:3], PROMPTS, CANDIDATES)
    hook.remove()
    assert len(seen) == 1


def test_long_candidates_are_not_cut(folder, t5, soft_prompt):
    short = build_flan_t5(FlanT5Options(weights=str(folder), max_text_length=3))
    expected = t5.score(soft_prompt[:3], PROMPTS, CANDIDATES)
    torch.testing.assert_close(short.score(soft_prompt[:3], PROMPTS, CANDIDATES), expected)


def test_candidates_of_nobody(t5, soft_prompt):
    assert [row.tolist() for row in t5.score(soft_prompt[:2], ["", ""], [[], []])] == [[], []]

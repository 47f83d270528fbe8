"""OPT's ranking against its loss."""

import pytest
import torch
from mmbridge_opt import OptOptions, build_opt, language_model

PROMPTS = ["a photo of", "question: what color is it? short answer:", ""]
CANDIDATES = [["the cat", "a man on the table", "red"], [], ["two dogs", "it"]]


@pytest.mark.parametrize("at_once", [128, 2])
def test_a_score_is_minus_the_summed_loss(opt, soft_prompt, monkeypatch, at_once):
    monkeypatch.setattr(language_model, "CANDIDATES", at_once)
    scores = opt.score(soft_prompt[:3], PROMPTS, CANDIDATES)
    assert [len(row) for row in scores] == [3, 0, 2]
    for row, texts in enumerate(CANDIDATES):
        for place, text in enumerate(texts):
            loss = opt.loss(soft_prompt[row : row + 1], opt.tokenizer([PROMPTS[row]], [text]))
            torch.testing.assert_close(scores[row][place], -loss.total, rtol=1e-5, atol=1e-5)


def test_one_query_is_enough(opt, soft_prompt):
    score = opt.score(soft_prompt[:1, :1], ["a"], [["cat"]])[0]
    torch.testing.assert_close(score[0], -opt.loss(soft_prompt[:1, :1], opt.tokenizer(["a"], ["cat"])).total)


def test_long_candidates_are_not_cut(folder, opt, soft_prompt):
    short = build_opt(OptOptions(weights=str(folder), max_text_length=4))
    torch.testing.assert_close(
        short.score(soft_prompt[:3], PROMPTS, CANDIDATES), opt.score(soft_prompt[:3], PROMPTS, CANDIDATES)
    )


def test_candidates_of_nobody(opt, soft_prompt):
    assert [row.tolist() for row in opt.score(soft_prompt[:2], ["", ""], [[], []])] == [[], []]

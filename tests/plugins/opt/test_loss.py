"""OPT's loss against transformers' BLIP-2, against a float64 formula, and its gradient."""

import pytest
import torch
from mmbridge_opt import OptOptions, build_opt, likelihood
from mmbridge_opt.language_model import Opt
from mmbridge_registry import UserError
from mmbridge_registry.language_model import IGNORED
from toys.transformers_blip2 import Reference
from transformers import OPTForCausalLM

PROMPTS = ["", "a photo of", "question: what color is it? short answer:", ""]
TARGETS = ["the cat", "a man on the table", "red", "two dogs"]


def naive(folder, soft_prompt, tokens) -> torch.Tensor:
    """Sum minus log-probabilities row by row, without padding, over full float64 logits."""
    lm = OPTForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    total = torch.zeros((), dtype=torch.float64)
    for row, prompt in enumerate(soft_prompt.double()):
        ids = tokens.inputs.ids[row][tokens.inputs.mask[row]]
        embeddings = torch.cat([prompt, lm.get_input_embeddings()(ids)])[None]
        logs = lm(inputs_embeds=embeddings).logits[0].log_softmax(-1)
        for place, token in enumerate(ids.tolist()):
            if tokens.labels[row, place] != IGNORED:
                total = total - logs[len(prompt) + place - 1, token]
    return total


def test_loss_equals_the_naive_formula(opt, folder, soft_prompt):
    tokens = opt.tokenizer(PROMPTS, TARGETS)
    loss = opt.loss(soft_prompt, tokens)
    assert loss.total.dtype == torch.float32
    assert loss.count == (tokens.labels != IGNORED).sum()
    torch.testing.assert_close(loss.total.double(), naive(folder, soft_prompt, tokens), rtol=1e-5, atol=0)


def test_loss_equals_transformers_blip2(opt, folder):
    reference = Reference(OPTForCausalLM.from_pretrained(folder), batch=4)
    tokens = opt.tokenizer(PROMPTS, TARGETS)
    expected = reference.model(
        reference.pixels,
        reference.placed(tokens.inputs.ids),
        attention_mask=reference.placed(tokens.inputs.mask.long(), fill=1),
        labels=reference.placed(tokens.labels, fill=IGNORED),
    )
    loss = opt.loss(reference.soft_prompt, tokens)
    torch.testing.assert_close(loss.total / loss.count, expected.loss, rtol=1e-5, atol=1e-6)


def test_a_batch_is_the_sum_of_its_rows(opt, soft_prompt):
    alone = [
        opt.loss(soft_prompt[row : row + 1], opt.tokenizer([PROMPTS[row]], [TARGETS[row]])).total for row in range(4)
    ]
    batch = opt.loss(soft_prompt, opt.tokenizer(PROMPTS, TARGETS))
    torch.testing.assert_close(batch.total, torch.stack(alone).sum(), rtol=1e-5, atol=1e-5)


def test_wider_padding_changes_nothing(opt, soft_prompt):
    tokens = opt.tokenizer(PROMPTS, TARGETS)
    wide = type(tokens)(
        tokens.inputs.widen(40), torch.nn.functional.pad(tokens.labels, (0, 40 - tokens.labels.shape[1]), value=IGNORED)
    )
    torch.testing.assert_close(
        opt.loss(soft_prompt, wide).total, opt.loss(soft_prompt, tokens).total, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradient_reaches_the_soft_prompt_and_no_parameter(folder, soft_prompt, dtype):
    opt = build_opt(OptOptions(weights=str(folder), dtype=dtype))
    soft_prompt.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = opt.loss(soft_prompt, opt.tokenizer(PROMPTS, TARGETS))
    loss.total.backward()
    assert loss.total.dtype == soft_prompt.grad.dtype == torch.float32
    assert (soft_prompt.grad.abs().sum((1, 2)) > 0).all()
    assert all(parameter.grad is None for parameter in opt.parameters())


def test_autocast_changes_nothing(opt, soft_prompt):
    tokens = opt.tokenizer(PROMPTS, TARGETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = opt.loss(soft_prompt, tokens).total
    assert torch.equal(inside, opt.loss(soft_prompt, tokens).total)


def test_chunks_give_the_loss_and_gradient_of_the_whole(opt, soft_prompt, monkeypatch):
    tokens = opt.tokenizer(PROMPTS, TARGETS)
    results = []
    for size in (2048, 5):
        monkeypatch.setattr(likelihood, "CHUNK", size)
        prompt = soft_prompt.clone().requires_grad_()
        total = opt.loss(prompt, tokens).total
        total.backward()
        results.append((total.detach(), prompt.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_nothing_to_score_is_zero_and_still_has_a_gradient(folder, soft_prompt):
    opt = build_opt(OptOptions(weights=str(folder), max_text_length=4))
    soft_prompt.requires_grad_()
    loss = opt.loss(soft_prompt, opt.tokenizer(["a photo of the cat"] * 4, ["red"] * 4))
    assert loss.total == 0
    assert loss.count == 0
    loss.total.backward()
    assert (soft_prompt.grad == 0).all()


def test_vocabulary_logits_are_asked_for_only_at_labels(opt: Opt, soft_prompt):
    seen = []
    hook = opt.lm.lm_head.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    loss = opt.loss(soft_prompt, opt.tokenizer(PROMPTS, TARGETS))
    hook.remove()
    assert seen == [(int(loss.count), 32)]


def test_text_beyond_the_table_of_positions_is_refused(folder, soft_prompt):
    opt = build_opt(OptOptions(weights=str(folder), max_text_length=95))
    with pytest.raises(UserError, match="98 positions, this OPT has 96"):
        opt.loss(soft_prompt[:1], opt.tokenizer([""], ["the " * 95]))

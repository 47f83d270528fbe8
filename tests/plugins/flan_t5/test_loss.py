"""FlanT5's loss against transformers' BLIP-2, against a float64 formula, and its gradient."""

import pytest
import torch
from mmbridge_flan_t5 import FlanT5Options, build_flan_t5, likelihood
from mmbridge_registry.language_model import IGNORED
from toys.tiny_t5 import with_erf, write_t5
from toys.transformers_blip2 import Reference
from transformers import T5ForConditionalGeneration

PROMPTS = ["", "a photo of", "question: what color is it? short answer:", "a"]
TARGETS = ["the cat", "a man on the table", "red", "two dogs"]


def naive(lm: T5ForConditionalGeneration, soft_prompt, tokens) -> torch.Tensor:
    """Sum minus log-probabilities row by row, without padding, over full float64 logits."""
    total = torch.zeros((), dtype=torch.float64)
    for row, prompt in enumerate(soft_prompt.double()):
        ids = tokens.inputs.ids[row][tokens.inputs.mask[row]]
        written = tokens.labels[row][tokens.labels[row] != IGNORED]
        embeddings = torch.cat([prompt, lm.get_input_embeddings()(ids)])[None]
        started = torch.cat([torch.zeros(1, dtype=torch.int64), written[:-1]])[None]
        logs = lm(inputs_embeds=embeddings, decoder_input_ids=started).logits[0].log_softmax(-1)
        total = total - logs[torch.arange(len(written)), written].sum()
    return total


def test_loss_equals_the_naive_formula(folder, soft_prompt):
    t5 = build_flan_t5(FlanT5Options(weights=str(folder), activation="gelu"))
    tokens = t5.tokenizer(PROMPTS, TARGETS)
    loss = t5.loss(soft_prompt, tokens)
    assert loss.total.dtype == torch.float32
    assert loss.count == (tokens.labels != IGNORED).sum()
    expected = naive(with_erf(folder, dtype=torch.float64), soft_prompt, tokens)
    torch.testing.assert_close(loss.total.double(), expected, rtol=1e-5, atol=0)


def test_loss_equals_transformers_blip2(folder):
    t5 = build_flan_t5(FlanT5Options(weights=str(folder), activation="gelu"))
    reference = Reference(with_erf(folder), batch=4)
    tokens = t5.tokenizer(PROMPTS, TARGETS)
    expected = reference.model(
        reference.pixels,
        reference.placed(tokens.inputs.ids),
        attention_mask=reference.placed(tokens.inputs.mask.long(), fill=1),
        labels=tokens.labels,
    )
    loss = t5.loss(reference.soft_prompt, tokens)
    torch.testing.assert_close(loss.total / loss.count, expected.loss, rtol=1e-5, atol=1e-6)


def test_activation_of_the_folder_or_the_exact_one(folder, soft_prompt):
    """Both are right by their own reference, and they differ."""
    losses = {}
    for activation, lm in [
        ("gelu", with_erf(folder, dtype=torch.float64)),
        ("config", T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()),
    ]:
        t5 = build_flan_t5(FlanT5Options(weights=str(folder), activation=activation)).double()
        tokens = t5.tokenizer(PROMPTS, TARGETS)
        losses[activation] = t5.loss(soft_prompt, tokens).total
        torch.testing.assert_close(losses[activation].double(), naive(lm, soft_prompt, tokens), rtol=3e-7, atol=0)
    assert abs(losses["gelu"] - losses["config"]) > 2e-6 * losses["gelu"]


def test_auto_leaves_any_other_t5_as_it_was_trained(t5, folder, soft_prompt):
    as_stored = build_flan_t5(FlanT5Options(weights=str(folder), activation="config"))
    tokens = t5.tokenizer(PROMPTS, TARGETS)
    assert torch.equal(t5.loss(soft_prompt, tokens).total, as_stored.loss(soft_prompt, tokens).total)


def test_the_first_t5_scales_between_its_shared_tables(tmp_path, soft_prompt):
    shared = write_t5(tmp_path, tie_word_embeddings=True, feed_forward_proj="relu")
    t5 = build_flan_t5(FlanT5Options(weights=str(shared)))
    tokens = t5.tokenizer(PROMPTS, TARGETS)
    expected = naive(
        T5ForConditionalGeneration.from_pretrained(shared, dtype=torch.float64).eval(), soft_prompt, tokens
    )
    torch.testing.assert_close(t5.loss(soft_prompt, tokens).total.double(), expected, rtol=1e-5, atol=0)


def test_a_batch_is_the_sum_of_its_rows(t5, soft_prompt):
    alone = [
        t5.loss(soft_prompt[row : row + 1], t5.tokenizer([PROMPTS[row]], [TARGETS[row]])).total for row in range(4)
    ]
    batch = t5.loss(soft_prompt, t5.tokenizer(PROMPTS, TARGETS))
    torch.testing.assert_close(batch.total, torch.stack(alone).sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradient_reaches_the_soft_prompt_and_no_parameter(folder, soft_prompt, dtype):
    t5 = build_flan_t5(FlanT5Options(weights=str(folder), dtype=dtype))
    soft_prompt.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = t5.loss(soft_prompt, t5.tokenizer(PROMPTS, TARGETS))
    loss.total.backward()
    assert loss.total.dtype == soft_prompt.grad.dtype == torch.float32
    assert (soft_prompt.grad.abs().sum((1, 2)) > 0).all()
    assert all(parameter.grad is None for parameter in t5.parameters())


def test_autocast_changes_nothing(t5, soft_prompt):
    tokens = t5.tokenizer(PROMPTS, TARGETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = t5.loss(soft_prompt, tokens).total
    assert torch.equal(inside, t5.loss(soft_prompt, tokens).total)


def test_chunks_give_the_loss_and_gradient_of_the_whole(t5, soft_prompt, monkeypatch):
    tokens = t5.tokenizer(PROMPTS, TARGETS)
    results = []
    for size in (2048, 5):
        monkeypatch.setattr(likelihood, "CHUNK", size)
        prompt = soft_prompt.clone().requires_grad_()
        total = t5.loss(prompt, tokens).total
        total.backward()
        results.append((total.detach(), prompt.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_vocabulary_logits_are_asked_for_only_at_labels(t5, soft_prompt):
    seen = []
    hook = t5.lm.lm_head.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    loss = t5.loss(soft_prompt, t5.tokenizer(PROMPTS, TARGETS))
    hook.remove()
    assert seen == [(int(loss.count), 32)]

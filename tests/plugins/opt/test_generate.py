"""OPT's texts against transformers' BLIP-2 and against its own rows alone."""

import pytest
import torch
from mmbridge_opt.tokenizer import OptTokenizer
from mmbridge_registry import Generation, UserError
from mmbridge_registry.prompts import SLOT
from toys.transformers_blip2 import Reference
from transformers import OPTForCausalLM

NEWLINE, NOBODY = 14, 393
PROMPTS = ["", "a photo of", "question: what color is it? short answer:", "a"]
GREEDY = Generation(max_new_tokens=12)
BEAM = Generation(beams=3, max_new_tokens=12, length_penalty=-1.0)


@pytest.fixture
def written(monkeypatch):
    """Collect the ids that generate writes."""
    rows = []

    def decode(self, ids):
        rows.extend([*row[: row.index(NEWLINE)], NEWLINE] if NEWLINE in row else row for row in ids.tolist())
        return original(self, ids)

    original = OptTokenizer.decode
    monkeypatch.setattr(OptTokenizer, "decode", decode)
    return rows


@pytest.mark.parametrize("generation", [GREEDY, BEAM, Generation(beams=2, max_new_tokens=9, min_new_tokens=6)])
def test_tokens_equal_transformers_blip2(opt, folder, written, generation):
    reference = Reference(OPTForCausalLM.from_pretrained(folder), batch=4)
    tokens = opt.text.prompts(PROMPTS, reference.queries)
    expected = reference.model.generate(
        reference.pixels,
        tokens.ids.where(tokens.ids != SLOT, reference.placeholder),
        attention_mask=tokens.mask.long(),
        num_beams=generation.beams,
        max_new_tokens=generation.max_new_tokens,
        min_new_tokens=generation.min_new_tokens,
        length_penalty=generation.length_penalty,
        do_sample=False,
        eos_token_id=NEWLINE,
        suppress_tokens=[reference.placeholder],
    )[:, tokens.ids.shape[1] :]
    texts = opt.generate(reference.soft_prompt, PROMPTS, generation)
    for row, ids in zip(written, expected.tolist(), strict=True):
        assert row == ids[: len(row)]
    assert texts == opt.text.decode(expected)
    assert len({*texts}) > 1


@pytest.mark.parametrize("generation", [GREEDY, BEAM, Generation(max_new_tokens=12, repetition_penalty=1.5)])
def test_a_batch_writes_what_its_rows_write_alone(opt, soft_prompt, written, generation):
    together = opt.generate(soft_prompt, PROMPTS, generation)
    alone = [opt.generate(soft_prompt[row : row + 1], [PROMPTS[row]], generation)[0] for row in range(4)]
    assert together == alone
    assert [row[: len(other)] for row, other in zip(written[:4], written[4:], strict=True)] == written[4:]


def test_greedy_follows_the_loss(opt, soft_prompt, written):
    """Every greedy token is the likeliest of full, unpadded, uncached logits."""
    opt.generate(soft_prompt[:1], ["a photo of"], GREEDY)
    ids = [2, 101, 286, 267]
    for token in written[0]:
        embeddings = torch.cat([soft_prompt[0], opt.lm.get_input_embeddings()(torch.tensor(ids))])[None]
        assert opt.lm(inputs_embeds=embeddings).logits[0, -1, :NOBODY].argmax() == token
        ids.append(token)


def test_min_and_max_count_new_tokens_only(opt, soft_prompt, written):
    opt.generate(soft_prompt, PROMPTS, Generation(max_new_tokens=3))
    opt.generate(soft_prompt, PROMPTS, Generation(max_new_tokens=7, min_new_tokens=7))
    assert all(len(row) <= 3 for row in written[:4])
    assert all(len(row) == 7 and NEWLINE not in row for row in written[4:])


def test_newline_ends_the_text(opt, soft_prompt):
    asked = []

    def wish_newline(head, given, logits):
        asked.append(len(logits))
        return logits + 1e4 * torch.nn.functional.one_hot(torch.tensor(NEWLINE), 394)

    hook = opt.lm.lm_head.register_forward_hook(wish_newline)
    texts = opt.generate(soft_prompt, PROMPTS, GREEDY)
    hook.remove()
    assert texts == ["", "", "", ""]
    assert asked == [4]


def test_sampling_follows_torchs_generator_and_the_nucleus(opt, soft_prompt):
    drawn = Generation(sample=True, top_p=0.95, max_new_tokens=8)
    texts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        texts.append(opt.generate(soft_prompt, PROMPTS, drawn))
    assert texts[0] == texts[1] != texts[2]
    narrow = Generation(sample=True, top_p=1e-6, max_new_tokens=8)
    assert opt.generate(soft_prompt, PROMPTS, narrow) == opt.generate(
        soft_prompt, PROMPTS, Generation(max_new_tokens=8)
    )


def test_a_prompt_beyond_the_table_of_positions_is_refused(opt, soft_prompt):
    with pytest.raises(UserError, match="96"):
        opt.generate(soft_prompt[:1], ["the " * 90], GREEDY)


def test_every_row_draws_from_its_own_nucleus(opt, soft_prompt, written):
    """Two prompts, 300 draws of the first token each, against probabilities sorted by hand."""
    logits = []
    hook = opt.lm.lm_head.register_forward_hook(lambda _, __, out: logits.append(out[:, -1].double()))
    torch.manual_seed(0)
    drawn = Generation(sample=True, top_p=0.5, temperature=1.3, max_new_tokens=1)
    opt.generate(soft_prompt[:2].repeat(300, 1, 1), ["a photo of", "<image> the"] * 300, drawn)
    hook.remove()
    for row in (0, 1):
        odds = (logits[0][row, :NOBODY] / 1.3).softmax(-1)
        best = odds.argsort(descending=True)
        nucleus = best[: int((odds[best].cumsum(0) < 0.5).sum()) + 1]
        expected = odds[nucleus] / odds[nucleus].sum()
        tokens = torch.tensor([ids[0] for ids in written[row::2]])
        found = torch.stack([(tokens == token).double().mean() for token in nucleus])
        assert float(found.sum()) == pytest.approx(1)
        assert (found - expected).abs().sum() / 2 < 0.15
        assert 1 < len(nucleus) < 40

"""FlanT5's texts against transformers' BLIP-2 and against its own rows alone."""

import pytest
import torch
from mmbridge_flan_t5 import FlanT5Options, build_flan_t5
from mmbridge_flan_t5.tokenizer import FlanT5Tokenizer
from mmbridge_registry import Generation
from mmbridge_registry.prompts import SLOT
from toys.tiny_t5 import with_erf
from toys.transformers_blip2 import Reference

END, NOBODY = 1, 124
PROMPTS = ["", "a photo of", "question: what color is it? short answer:", "a"]
GREEDY = Generation(max_new_tokens=12)
BEAM = Generation(beams=3, max_new_tokens=12, length_penalty=-1.0)


@pytest.fixture
def written(monkeypatch):
    """Collect the ids that generate writes, from after the start token to the end token."""
    rows = []

    def decode(self, ids):
        rows.extend([*row[: row.index(END)], END] if END in row else row for row in ids[:, 1:].tolist())
        return original(self, ids)

    original = FlanT5Tokenizer.decode
    monkeypatch.setattr(FlanT5Tokenizer, "decode", decode)
    return rows


@pytest.mark.parametrize("generation", [GREEDY, BEAM, Generation(beams=2, max_new_tokens=9, min_new_tokens=6)])
def test_tokens_equal_transformers_blip2(folder, written, generation):
    t5 = build_flan_t5(FlanT5Options(weights=str(folder), activation="gelu"))
    reference = Reference(with_erf(folder), batch=4)
    tokens = t5.text.prompts(PROMPTS, reference.queries)
    expected = reference.model.generate(
        reference.pixels,
        tokens.ids.where(tokens.ids != SLOT, reference.placeholder),
        attention_mask=tokens.mask.long(),
        num_beams=generation.beams,
        max_new_tokens=generation.max_new_tokens,
        min_new_tokens=generation.min_new_tokens,
        length_penalty=generation.length_penalty,
        do_sample=False,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=END,
        suppress_tokens=[reference.placeholder],
    )
    texts = t5.generate(reference.soft_prompt, PROMPTS, generation)
    for row, ids in zip(written, expected[:, 1:].tolist(), strict=True):
        assert row == ids[: len(row)]
    assert texts == t5.text.decode(expected)
    assert len({*texts}) > 1


@pytest.mark.parametrize("generation", [GREEDY, BEAM, Generation(max_new_tokens=12, repetition_penalty=1.5)])
def test_a_batch_writes_what_its_rows_write_alone(t5, soft_prompt, written, generation):
    together = t5.generate(soft_prompt, PROMPTS, generation)
    alone = [t5.generate(soft_prompt[row : row + 1], [PROMPTS[row]], generation)[0] for row in range(4)]
    assert together == alone
    assert [row[: len(other)] for row, other in zip(written[:4], written[4:], strict=True)] == written[4:]


def test_min_and_max_count_new_tokens_only(t5, soft_prompt, written):
    t5.generate(soft_prompt, PROMPTS, Generation(max_new_tokens=3))
    t5.generate(soft_prompt, PROMPTS, Generation(max_new_tokens=7, min_new_tokens=7))
    assert all(len(row) <= 3 for row in written[:4])
    assert all(len(row) == 7 and END not in row for row in written[4:])


def test_sampling_follows_torchs_generator_and_the_nucleus(t5, soft_prompt):
    drawn = Generation(sample=True, top_p=0.95, temperature=3.0, max_new_tokens=8)
    texts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        texts.append(t5.generate(soft_prompt, PROMPTS, drawn))
    assert texts[0] == texts[1] != texts[2]
    narrow = Generation(sample=True, top_p=1e-6, max_new_tokens=8)
    assert t5.generate(soft_prompt, PROMPTS, narrow) == t5.generate(soft_prompt, PROMPTS, Generation(max_new_tokens=8))


def test_every_row_draws_from_its_own_nucleus(t5, soft_prompt, written):
    """Two prompts, 300 draws of the first token each, against probabilities sorted by hand."""
    logits = []
    hook = t5.lm.lm_head.register_forward_hook(lambda _, __, out: logits.append(out[:, -1].double()))
    torch.manual_seed(0)
    drawn = Generation(sample=True, top_p=0.6, temperature=2.0, max_new_tokens=1)
    t5.generate(soft_prompt[:2].repeat(300, 1, 1), ["a photo of", "<image> the"] * 300, drawn)
    hook.remove()
    for row in (0, 1):
        odds = (logits[0][row, :NOBODY] / 2.0).softmax(-1)
        best = odds.argsort(descending=True)
        nucleus = best[: int((odds[best].cumsum(0) < 0.6).sum()) + 1]
        expected = odds[nucleus] / odds[nucleus].sum()
        tokens = torch.tensor([ids[0] for ids in written[row::2]])
        found = torch.stack([(tokens == token).double().mean() for token in nucleus])
        assert float(found.sum()) == pytest.approx(1)
        assert (found - expected).abs().sum() / 2 < 0.15
        assert 1 < len(nucleus) < 40
